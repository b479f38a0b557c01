#!/usr/bin/env bash
# Fills a server with something to look at: a staging tenant with auto-fix on, a user, a spec, its
# plan, and a run that has known issues. Run it again whenever you like: what is there is kept.
#
#   scripts/seed_staging_v3.sh [URL]          http://localhost:5001 unless said otherwise
#
# METABUILDER_TOKEN  a platform administrator's token, such as `metabuilder up` prints; without it
#                    the token in ./.metabuilder (or METABUILDER_DATA) is taken
# SEED_KEY_FILE      where the staging user's key is kept (mode 600)
# SEED_WAIT_SECONDS  how long to wait for the server, and then for the run (default 120)
# SEED_NEW_RUN=true  start another run although there is one
set -euo pipefail

base=${1:-${METABUILDER_URL:-http://localhost:5001}}
base=${base%/}
api=$base/api/meta/v2
wait_seconds=${SEED_WAIT_SECONDS:-120}
state=${XDG_STATE_HOME:-${HOME:-/tmp}/.local/state}/metabuilder
key_file=${SEED_KEY_FILE:-$state/staging-key}

# The same tenant each time; the title tells its spec.
tenant=01890000-0000-7000-8000-0000005eed03
email=staging@example.com
title='Staging: a build with known issues'

say() { printf '%s\n' "$*" >&2; }
die() { say "seed: $*"; exit 1; }
for program in curl python3; do
    command -v "$program" >/dev/null || die "$program is needed"
done
[[ "$wait_seconds" =~ ^[1-9][0-9]{0,3}$ ]] ||
    die "SEED_WAIT_SECONDS=$wait_seconds is no number of seconds (expected 1 to 9999)"
[[ "$base" =~ ^https?://[^/[:space:]]+(/[^[:space:]]*)?$ ]] ||
    die "$base is no base URL (expected one such as http://localhost:5001)"

work=$(mktemp -d "${TMPDIR:-/tmp}/seed.XXXXXX")
trap 'rm -rf "$work"' EXIT
status='' token=''

# call METHOD URL [JSON [IDEMPOTENCY-KEY]]: the status in $status, the document in $work/answer.
# The credential goes through a file, so that no list of processes shows it.
call() {
    local options=(--silent --show-error --max-time 60 --config "$work/credential"
        --request "$1" --output "$work/answer" --write-out '%{http_code}')
    printf 'header = "Authorization: Bearer %s"\n' "$token" >"$work/credential"
    if [ -n "${3:-}" ]; then
        printf '%s' "$3" >"$work/body"
        options+=(--header 'Content-Type: application/json' --data-binary "@$work/body")
    fi
    [ -z "${4:-}" ] || options+=(--header "Idempotency-Key: $4")
    : >"$work/answer"
    status=$(curl "${options[@]}" "$2") || die "$2 does not answer"
}

# expect STATUS... : one of these was the status.
expect() {
    local wanted
    for wanted in "$@"; do [ "$status" != "$wanted" ] || return 0; done
    die "the server answered $status where $* was expected: $(head -c 2000 "$work/answer")"
}

# pick EXPRESSION [ARGUMENT...]: a value of the last answer (`d`), arguments are in `a`.
pick() {
    python3 - "$work/answer" "$@" <<'PY'
import json, sys
d = json.load(open(sys.argv[1], encoding="utf-8"))
a = sys.argv[3:]
value = eval(" ".join(sys.argv[2].split()), {"d": d, "a": a})
if value is not None:
    print(value)
PY
}

# until_true SECONDS WHAT COMMAND...: asks again every second.
until_true() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || die "$what took longer than $wait_seconds seconds"
        sleep 1
    done
}

ready() { curl --silent --fail --max-time 5 --output /dev/null "$base/readyz"; }
say "waiting for $base"
until_true "$wait_seconds" "$base/readyz" ready

# --- who seeds -----------------------------------------------------------------------------------
admin=${METABUILDER_TOKEN:-}
if [ -z "$admin" ] && [ -r "${METABUILDER_DATA:-.metabuilder}/dev-token" ]; then
    admin=$(<"${METABUILDER_DATA:-.metabuilder}/dev-token")
fi
[ -n "$admin" ] || die "no token: set METABUILDER_TOKEN to a platform administrator's"
token=$admin
call GET "$api/caller"
expect 200
role=$(pick 'd["data"]["attributes"]["role"]')
[ "$role" = platform_admin ] ||
    die "METABUILDER_TOKEN has role $role (expected platform_admin: a tenant is made)"

# --- the tenant, with v3 on ----------------------------------------------------------------------
call POST "$api/tenants" "{\"name\": \"Staging\", \"id\": \"$tenant\"}"
expect 201 409
if [ "$status" = 201 ]; then say "made the tenant"; else say "the tenant is there"; fi
# Only what is not so yet is written: a second run leaves no trace in the history.
call GET "$api/tenants/$tenant/settings"
expect 200
on=$(pick 'd["data"]["attributes"]["override"].get("autofix_enabled")')
if [ "$on" != True ]; then
    call PATCH "$api/tenants/$tenant/settings?reason=staging+seed" '{"autofix_enabled": true}'
    expect 200
fi

# --- a user, and a key ---------------------------------------------------------------------------
call POST "$api/tenants/$tenant/users" "{\"email\": \"$email\", \"role\": \"owner\"}"
expect 201 409
if [ "$status" = 201 ]; then
    key=$(pick 'd["data"]["attributes"]["api_key"]')
    say "made the user $email"
else
    say "the user $email is there"
    key=''
    if [ -r "$key_file" ]; then
        token=$(<"$key_file")
        call GET "$api/caller"
        [ "$status" = 200 ] && [ "$(pick 'd["data"]["id"]')" = "$tenant" ] && key=$token
        token=$admin
    fi
    if [ -z "$key" ]; then
        call POST "$api/tenants/$tenant/keys" '{"name": "staging seed", "role": "owner"}'
        expect 201
        key=$(pick 'd["data"]["attributes"]["api_key"]')
        say "made a key: that of $key_file is not this server's"
    fi
fi
mkdir -p "$(dirname "$key_file")"
(umask 077 && printf '%s\n' "$key" >"$key_file.new" && mv "$key_file.new" "$key_file")
token=$key

# --- the spec: files with known issues -----------------------------------------------------------
spec_document() {
    python3 - "$title" <<'PY'
import json, sys

FORMAT = """# Blanks at the ends of lines: --check tells of them, else they are taken away.
if [ "${1:-}" = --check ]; then
    if grep -nE '[[:space:]]+$' app/menu.txt | sed 's/^\\([0-9]*\\):.*/app\\/menu.txt:\\1:1: W291 trailing whitespace/' | grep .; then
        echo "Found problems that --fix mends."
        exit 1
    fi
    echo "All checks passed!"
else
    sed -i 's/[[:space:]]*$//' app/menu.txt
fi
"""
FETCH = """# The mirror sleeps: the first request wakes it up and is refused, the next one is answered.
# (Nobody listens on the discard port, so the refusal is real; no network is needed.)
set -e
mkdir -p .mirror
if [ ! -e .mirror/awake ]; then
    touch .mirror/awake
    echo "fetching prices from 127.0.0.1:9"
    exec 3<>/dev/tcp/127.0.0.1/9
fi
cp data/prices.csv .mirror/prices.csv
echo "fetched $(wc -l <.mirror/prices.csv) prices"
"""
AUDIT = """# A committed credential: only a person can say whether it is one.
if grep -nE '^api_key *= *"[^"]{16,}"' config/shop.toml >/dev/null; then
    echo 'Finding:     api_key = "REDACTED"'
    echo 'RuleID:      generic-api-key'
    echo 'File:        config/shop.toml'
    echo 'Line:        2'
    echo 'WRN leaks found: 1'
    exit 1
fi
echo 'INF no leaks found'
"""
files = {
    "app/menu.txt": "espresso  \ncappuccino\nfilter coffee \n",
    "config/shop.toml": 'name = "corner shop"\napi_key = "%s"\n' % "-".join(["not", "a", "real", "key", "0000"]),
    "data/prices.csv": "espresso,2.20\ncappuccino,3.10\nfilter coffee,2.60\n",
    "ci/format.sh": FORMAT,
    "ci/fetch.sh": FETCH,
    "ci/audit.sh": AUDIT,
}
steps = [
    {"name": "format", "run": "bash ci/format.sh --check", "fix": "bash ci/format.sh", "timeout": "1m"},
    {"name": "fetch", "run": "bash ci/fetch.sh", "needs": ["format"], "cache": [".mirror"], "timeout": "1m"},
    {"name": "test", "run": 'test "$(wc -l <app/menu.txt)" = "$(wc -l <.mirror/prices.csv)" && echo "1 passed"',
     "needs": ["fetch"], "cache": [".mirror"], "timeout": "1m"},
    {"name": "audit", "run": "bash ci/audit.sh", "needs": ["test"], "timeout": "1m"},
    {"name": "package", "run": "mkdir -p dist && cp app/menu.txt dist/ && echo packaged", "needs": ["audit"], "timeout": "1m"},
]
print(json.dumps({
    "title": sys.argv[1],
    "description": "Its format check fails and is healed, its mirror is away once, and its audit "
                   "waits for a person.",
    "mode": "freeform",
    "source": {"kind": "inline", "files": files},
    "steps": steps,
}))
PY
}
call GET "$api/specs?per_page=100"
expect 200
spec=$(pick 'next((s["id"] for s in d["data"] if s["attributes"]["title"] == a[0]), None)' "$title")
if [ -z "$spec" ]; then
    call POST "$api/specs" "$(spec_document)" "seed-staging-v3-spec"
    expect 201
    spec=$(pick 'd["data"]["id"]')
    say "made the spec"
fi

# --- its plan, and its run -----------------------------------------------------------------------
call GET "$api/specs/$spec"
expect 200
plan=$(pick 'next((r["id"] for r in d.get("included", []) if r["type"] == "plan"), None)')
if [ -z "$plan" ]; then
    call POST "$api/specs/$spec/plan" '{}' "seed-staging-v3-plan-$spec"
    expect 201
    plan=$(pick 'd["data"]["id"]')
    say "made the plan"
fi
call GET "$api/runs?spec_id=$spec&per_page=1"
expect 200
run=$(pick 'd["data"][0]["id"] if d["data"] else None')
if [ -z "$run" ] || [ "${SEED_NEW_RUN:-}" = true ]; then
    # A repeat while the first is under way must not start a second one.
    once="seed-staging-v3-run-$plan"
    [ -z "$run" ] || once="$once-after-$run"
    call POST "$api/specs/$spec/runs" '{"max_iterations": 6}' "$once"
    expect 201
    run=$(pick 'd["data"]["id"]')
    say "started the run"
fi

run_status=''
settled() {
    call GET "$api/runs/$run"
    expect 200
    run_status=$(pick 'd["data"]["attributes"]["status"]')
    case "$run_status" in pending | running) return 1 ;; esac
}
say "waiting until the run has ended or waits for a person"
until_true "$wait_seconds" "the run $run" settled
gate=$(pick 'next((r["id"] for r in d.get("included", []) if r["type"] == "approval"
    and r["attributes"]["status"] == "pending"), None)')

cat <<TEXT
tenant      $tenant
user        $email
key         $key_file
spec        $spec
plan        $plan
run         $run
status      $run_status
gate        ${gate:-none}

Pages (sign in with the key):
  run details       $base/runs/$run
  auto-fix history  $base/runs/$run#timeline
  escalation        $base/approvals

JSON (Authorization: Bearer <key>):
  run details       $api/runs/$run
  auto-fix history  $api/runs/$run/autofix
  escalation        $api/runs/$run/escalation

Try:
  export METABUILDER_URL=$base METABUILDER_TOKEN=\$(cat '$key_file')
  metabuilder runs show $run
  metabuilder why $run format
  metabuilder approve ${gate:-$run}
  curl -H "Authorization: Bearer \$METABUILDER_TOKEN" $api/runs/$run/autofix
TEXT
