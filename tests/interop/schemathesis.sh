#!/usr/bin/env bash
# Schemathesis against a running gateway and its own OpenAPI document: no 5xx, no answer that the
# document does not have, no wrong request that is accepted.
#
# Needs python3 with venv, and PyPI. What cannot be installed: last line `SKIPPED: reason`, exit 77.
# Not asked: the stream of notifications, which does not end by itself. Ends only what it started.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/farebox-schemathesis.XXXXXX")
seconds=${FAREBOX_SCHEMATHESIS_SECONDS:-90}
farebox=${FAREBOX:-$root/target/debug/farebox}
started=()

finish() {
  local pid
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  rm -rf "$work"
}
trap finish EXIT
skip() { echo "SKIPPED: $1"; exit 77; }

schemathesis=${SCHEMATHESIS:-}
if [ -z "$schemathesis" ]; then
  command -v python3 >/dev/null || skip "python3 is not installed"
  python3 -m venv "$work/venv" >"$work/venv.log" 2>&1 || skip "python3 has no venv"
  timeout 200 "$work/venv/bin/pip" install -q 'schemathesis>=4,<5' >"$work/pip.log" 2>&1 \
    || skip "PyPI does not give schemathesis"
  schemathesis=$work/venv/bin/schemathesis
fi
if [ ! -x "$farebox" ]; then (cd "$root" && cargo build --locked); fi

# Free ports: held for a moment by one process, so that they differ.
read -r api admin ocs cdf < <(python3 - <<'PY'
import socket
held = [socket.socket() for _ in range(4)]
for one in held:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PY
)
cat >"$work/farebox.yaml" <<YAML
version: 1
identity: {host: cg1.ims.example.net, realm: ims.example.net}
api: {listen: "127.0.0.1:$api", max_wait: 2s}
admin: {listen: "127.0.0.1:$admin"}
store: {path: "$work/store"}
peers:
  ocs-sim: {address: "127.0.0.1:$ocs", host: ocs-sim.example.net, realm: example.net, applications: [{auth: 4}], timeout: 1s}
  cdf-sim: {address: "127.0.0.1:$cdf", host: cdf-sim.example.net, realm: example.net, applications: [{acct: 3}], timeout: 1s}
routes:
  - {interface: ch1, peers: [cdf-sim]}
  - {interface: ch2, peers: [ocs-sim]}
YAML
"$farebox" sim ocs --listen "127.0.0.1:$ocs" >"$work/ocs.log" 2>&1 & started+=($!)
"$farebox" sim cdf --listen "127.0.0.1:$cdf" --out "$work/cdr.ndjson" >"$work/cdf.log" 2>&1 & started+=($!)
"$farebox" run --config "$work/farebox.yaml" >"$work/run.log" 2>&1 & started+=($!)
gateway=$!

cd "$work"
code=0
ask() { # seconds, then what to ask
  local limit=$1
  shift
  SCHEMATHESIS_HOOKS=schemathesis_hooks PYTHONPATH=$here timeout $((limit + 60)) \
    "$schemathesis" --config-file "$here/schemathesis.toml" run \
    "http://127.0.0.1:$api/openapi.json" --wait-for-schema 20 --max-time "$limit" \
    --continue-on-failure --suppress-health-check all --request-timeout 20 --seed 20251212 \
    --no-color --warnings off "$@" || code=$?
}
# Wrong lines first, by themselves: among all the calls they come too seldom.
ask 20 --include-path /v1/batch --mode negative --phases fuzzing
ask "$seconds" --exclude-path /v1/notifications --phases examples,coverage,fuzzing
kill -0 "$gateway" 2>/dev/null || { cat "$work/run.log"; echo "FAILED: the gateway has ended"; exit 1; }
[ "$code" -eq 0 ] || { tail -n 20 "$work/run.log"; echo "FAILED: schemathesis ended with $code"; exit 1; }
echo "schemathesis: no 5xx, no answer outside the document"
