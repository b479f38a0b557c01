#!/usr/bin/env bash
# Runs a black-box suite of OpenFeature clients against a fresh `metabuilder up`.
#
# usage: openfeature.sh METABUILDER SUITE
#
# METABUILDER is the binary. SUITE is a folder with conformance.mjs, its node_modules, and, where
# python is wanted too, conformance.py and a virtual environment named v. The suite gets a fixture
# in which one tenant overrides a number and one run of it overrides that again, another tenant
# turns auto-fix off, and nobody else says anything.
set -euo pipefail

[ $# -eq 2 ] || { echo "usage: $0 METABUILDER SUITE" >&2; exit 2; }
bin=$(realpath "$1")
suite=$(realpath "$2")
work=$(mktemp -d)
up=""
trap '[ -z "$up" ] || { kill "$up"; wait "$up"; } 2>/dev/null || true; rm -rf "$work"' EXIT

port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
http=$(port) grpc=$(port) flagd=$(port)
url="http://127.0.0.1:$http"
META_BUILDER_ENV=staging "$bin" up --data "$work/data" --listen "127.0.0.1:$http" \
    --grpc "127.0.0.1:$grpc" --flagd "127.0.0.1:$flagd" --flagd-tenant any \
    >"$work/out" 2>"$work/log" &
up=$!
for _ in $(seq 100); do
    curl -sf "$url/readyz" >/dev/null && break
    kill -0 "$up" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
token=$(sed -n 's/^development token *//p' "$work/out")

# call KEY METHOD PATH BODY
call() {
    curl -sS --fail-with-body -X "$2" "$url/api/meta/v2$3" -H "Authorization: Bearer $1" \
        -H 'Content-Type: application/json' --data "$4"
}
id() {
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["id"])'
}

acme=$(call "$token" POST /tenants '{"name": "acme"}' | id)
globex=$(call "$token" POST /tenants '{"name": "globex"}' | id)
call "$token" PATCH "/tenants/$acme/settings" '{"max_total_attempts": 9}' >/dev/null
call "$token" PATCH "/tenants/$globex/settings" '{"autofix_enabled": false}' >/dev/null
owner=$(call "$token" POST "/tenants/$acme/users" '{"email": "ann@example.org", "role": "owner"}' |
    python3 -c 'import json, sys; print(json.load(sys.stdin)["data"]["attributes"]["api_key"])')
steps='[{"name": "s", "run": "true"}]'
spec=$(call "$owner" POST /specs "{\"title\": \"t\", \"mode\": \"freeform\", \"steps\": $steps}" | id)
call "$owner" POST "/specs/$spec/plan" '{}' >/dev/null
run=$(call "$owner" POST "/specs/$spec/runs" '{"settings": {"max_total_attempts": 2}}' | id)

# A change is a write of another value; writing what is there already is none.
cat >"$work/mutate" <<SCRIPT
#!/usr/bin/env bash
set -euo pipefail
for value in 1 "\$1"; do
    curl -sf -X PATCH "$url/api/meta/v2/tenants/$acme/settings" -o /dev/null \\
        -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \\
        --data "{\\"max_per_step_attempts\\": \$value}"
done
SCRIPT
chmod +x "$work/mutate"

python3 - "$acme" "$globex" "$run" "$work/mutate" >"$work/fixture.json" <<'PYTHON'
import json, sys
acme, globex, run, mutate = sys.argv[1:]
nobody = {"targetingKey": "nobody", "tenantId": "nobody"}
of = lambda tenant, **more: {"targetingKey": tenant, "tenantId": tenant, **more}
case = lambda name, flag, context, value, reason, layer: {
    "name": name, "flag": flag, "context": context, "value": value, "layer": layer,
    "type": "bool" if isinstance(value, bool) else "int", "reasons": [reason],
}
default = lambda flag, value: case(f"{flag} of the platform", flag, nobody, value, "DEFAULT", "platform")
print(json.dumps({
    "unknown_flag": "no_such_flag",
    "cases": [
        default("autofix_enabled", True),
        default("max_total_attempts", 6),
        default("max_per_step_attempts", 3),
        default("backoff_cap_seconds", 60),
        case("a tenant's number", "max_total_attempts", of(acme), 9, "TARGETING_MATCH", "tenant"),
        case("a tenant's false", "autofix_enabled", of(globex), False, "TARGETING_MATCH", "tenant"),
        case("a run over its tenant", "max_total_attempts", of(acme, runId=run), 2, "TARGETING_MATCH", "run"),
    ],
    "poison": {
        "flag": "autofix_enabled", "type": "bool", "first": nobody, "first_value": True,
        "second": of(globex), "second_value": False,
    },
    "mutate": {
        "flag": "max_per_step_attempts", "type": "int", "context": of(acme), "values": [5, 4],
        "command": f'"{mutate}" "$VALUE"',
    },
}))
PYTHON

failed=0
cd "$suite"
node conformance.mjs --grpc "127.0.0.1:$flagd" --ofrep "$url" --token "$token" \
    --fixture "$work/fixture.json" --selector "tenant=$acme" || failed=1
if [ -x v/bin/python ]; then
    v/bin/python conformance.py --grpc "127.0.0.1:$flagd" --ofrep "$url" --token "$token" \
        --fixture "$work/fixture.json" --selector "tenant=$acme" || failed=1
fi
exit "$failed"
