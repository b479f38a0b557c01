#!/usr/bin/env bash
# Holds a fresh `metabuilder up` against its own OpenAPI document with schemathesis: no answer with a
# 5xx, none with a status, media type or body that the document does not promise.
#
# usage: schemathesis.sh METABUILDER SCHEMATHESIS [SECONDS]
#
# METABUILDER and SCHEMATHESIS are the binaries (pip install schemathesis). It takes 300 seconds
# unless told otherwise. The API is asked with the development token, about things that exist and
# about things that do not.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 METABUILDER SCHEMATHESIS [SECONDS]" >&2; exit 2; }
bin=$(realpath "$1")
tool=$(realpath -s "$2")
seconds=${3:-300}
work=$(mktemp -d)
up=""
trap '[ -z "$up" ] || { kill "$up"; wait "$up"; } 2>/dev/null || true; rm -rf "$work"' EXIT

port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
http=$(port) grpc=$(port)
url="http://127.0.0.1:$http"
"$bin" up --data "$work/data" --listen "127.0.0.1:$http" --grpc "127.0.0.1:$grpc" \
    >"$work/out" 2>"$work/log" &
up=$!
for _ in $(seq 100); do
    curl -sf "$url/readyz" >/dev/null && break
    kill -0 "$up" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
token=$(sed -n 's/^development token *//p' "$work/out")

# call METHOD PATH BODY
call() {
    curl -sS --fail-with-body -X "$1" "$url/api/meta/v2$2" -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' --data "$3"
}
id() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["id"])'
}

# A run that heals, one that waits for a human, and one that failed.
tenant=$(curl -sS "$url/api/meta/v2/caller" -H "Authorization: Bearer $token" | id)
flaky='if [ -f c/seen ]; then echo ok; else mkdir -p c; touch c/seen; echo "curl: (7) Failed to connect to x port 443: Connection refused" >&2; exit 7; fi'
body() {
    python3 -c 'import json, sys
run, cache = sys.argv[1:]
step = {"name": "s", "run": run, "cache": [cache] if cache else []}
print(json.dumps({"title": "t", "mode": "freeform", "steps": [step]}))' "$1" "$2"
}
started() {
    local spec
    spec=$(call POST /specs "$(body "$1" "$2")" | id)
    call POST "/specs/$spec/plan" '{}' >/dev/null
    echo "$spec $(call POST "/specs/$spec/runs" '{"async": false}' | id)"
}
read -r spec healed <<<"$(started "$flaky" c)"
read -r _ failed <<<"$(started 'exit 3' '')"
read -r _ waits <<<"$(started "echo 'RuleID: aws-access-token'; echo 'WRN leaks found: 1'; exit 1" '')"
gate=$(curl -sS "$url/api/meta/v2/approvals?run_id=$waits" -H "Authorization: Bearer $token" |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"][0]["id"])')
nobody=0197a2c4-6f3e-7c11-9f6d-2a8b1c3d4e5f

cat >"$work/schemathesis.toml" <<CONFIG
[parameters]
"path.tenant_id" = ["$tenant", "$nobody"]
"path.spec_id" = ["$spec", "$nobody"]
"path.run_id" = ["$healed", "$failed", "$nobody"]
"path.gate_id" = ["$gate", "$nobody"]
"path.step" = ["s", "none"]
"path.name" = ["log", "patch", "none"]
CONFIG

cd "$work"
checks=not_a_server_error,status_code_conformance,content_type_conformance
checks=$checks,response_headers_conformance,response_schema_conformance
status=0
"$tool" --config-file "$work/schemathesis.toml" run "$url/openapi.json" \
    -H "Authorization: Bearer $token" --checks "$checks" --max-time "$seconds" \
    --continue-on-failure --max-examples 10000 --request-timeout 60 --warnings off \
    --suppress-health-check all --no-color || status=$?
kill -0 "$up" || { echo "the server is gone" >&2; tail -5 "$work/log" >&2; exit 1; }
grep -E 'ERROR|panicked' "$work/log" | head -20 >&2 || true
exit "$status"
