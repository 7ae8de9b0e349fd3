#!/usr/bin/env bash
# farebox's peer layer against freeDiameter: who dials, TLS, DPR, death and silence.
#
# Shows, each line printed as it passes: freeDiameter connects to farebox (responder side); both
# dial each other and one connection is left; TLS 1.3 and 1.2 with the right certificates, and the
# reason for each wrong one; DPR from either side; freeDiameter killed with -9 and stopped with
# -STOP, noticed and back. Prints how long each took to be noticed.
#
# Needs freediameterd, freediameter-extensions, curl, openssl and an address besides loopback.
# What is missing: last line `SKIPPED: reason`, exit 77. Free ports; ends only what it started.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=${FAREBOX_INTEROP_DIR:-$root/target/interop}/peers
farebox=${FAREBOX_BIN:-$root/target/release/farebox}

skip() { echo "SKIPPED: $1"; exit 77; }
fail() { echo "FAILED: $1"; tail -n 5 ./*.log 2>/dev/null || true; exit 1; }
passed() { printf '  ok  %s\n' "$1"; }

for program in freeDiameterd curl openssl; do
  command -v $program >/dev/null || skip "$program is not installed"
done
[ -e /usr/lib/freeDiameter/acl_wl.fdx ] || skip "freediameter-extensions is not installed"
[ -n "$(ip -4 -o addr show scope global 2>/dev/null)" ] || skip "freeDiameter needs an address besides loopback"
[ -x "$farebox" ] || (cd "$root" && cargo build --release --locked) || fail "farebox does not build"

rm -rf "$work"
mkdir -p "$work"
cd "$work"
pids=()
finish() {
  local pid
  for pid in "${pids[@]}"; do kill -CONT "$pid" 2>/dev/null || true; kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do
    for _ in $(seq 30); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
}
trap finish EXIT

free_port() {
  local port
  while :; do
    port=$((20000 + RANDOM % 12000))
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo $port; return; }
  done
}
now() { date +%s%3N; }

# until_ok SECONDS WHAT COMMAND…: polls until the command succeeds.
until_ok() {
  local seconds=$1 what=$2 end=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { peer || true; fail "$what: not within $seconds s"; }
    sleep 0.1
  done
}

# A CA, and certificates that it issues: certificate CA NAME DNSNAME.
authority() {
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.pem" -days 2 \
    -subj "/CN=$1" -addext basicConstraints=critical,CA:TRUE 2>>openssl.log
}
certificate() {
  openssl req -newkey rsa:2048 -nodes -keyout "$2.key" -out "$2.csr" -subj "/CN=$3" 2>>openssl.log
  printf 'subjectAltName=DNS:%s\n' "$3" >"$2.ext"
  openssl x509 -req -in "$2.csr" -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -days 2 \
    -extfile "$2.ext" -out "$2.pem" 2>>openssl.log
}

authority ca
authority other
certificate ca fd fd.interop.example.net
certificate other foreign fd.interop.example.net
certificate ca cg cg1.ims.example.net
echo 'ALLOW_IPSEC *.ims.example.net' >acl_wl.conf

plain=$(free_port) secure=$(free_port) inbound=$(free_port) admin=$(free_port) api=$(free_port)

# freediameter CERTIFICATE PRIORITY CONNECT [CA]: `-` for none. It judges its own certificate at start.
freediameter() {
  local dial=""
  [ "$3" = - ] || dial="ConnectPeer = \"cg1.ims.example.net\" { ConnectTo = \"127.0.0.1\"; Port = $inbound; No_TLS; TcTimer = 6; };"
  cat >fd.conf <<END
Identity = "fd.interop.example.net";
Realm = "interop.example.net";
Port = $plain;
SecPort = $secure;
No_SCTP;
No_IPv6;
TwTimer = 6;
TcTimer = 6;
TLS_Cred = "$work/$1.pem", "$work/$1.key";
TLS_CA = "$work/${4:-ca}.pem";
TLS_Prio = "$2";
TLS_DH_Bits = 1024;
LoadExtension = "/usr/lib/freeDiameter/acl_wl.fdx" : "$work/acl_wl.conf";
LoadExtension = "/usr/lib/freeDiameter/dict_nasreq.fdx";
LoadExtension = "/usr/lib/freeDiameter/dict_dcca.fdx";
$dial
END
  freeDiameterd -c fd.conf >>fd.log 2>&1 &
  fd=$!
  disown "$fd"
  pids+=("$fd")
}

# gateway ADDRESS LISTEN TLS [HOST]: `-` for none.
gateway() {
  local address="" listen="" tls="tls: none"
  [ "$1" = - ] || address="address: \"127.0.0.1:$1\""
  [ "$2" = - ] || listen="diameter: {listen: [\"127.0.0.1:$2\"]}"
  [ "$3" = - ] || tls="tls: {ca: ca.pem, cert: cg.pem, key: cg.key, min_version: $3}"
  cat >farebox.yaml <<END
version: 1
identity: {host: cg1.ims.example.net, realm: ims.example.net}
api: {listen: "127.0.0.1:$api"}
admin: {listen: "127.0.0.1:$admin"}
store: {path: $work/data}
$listen
peers:
  fd:
    $address
    host: ${4:-fd.interop.example.net}
    realm: interop.example.net
    $tls
    watchdog: 6s
    reconnect: {initial: 500ms, max: 2s}
routes:
  - {interface: ch1, peers: [fd]}
  - {interface: ch2, peers: [fd]}
END
  "$farebox" run --config farebox.yaml >>farebox.log 2>&1 &
  cg=$!
  pids+=("$cg")
}

peer() { curl -sf "http://127.0.0.1:$admin/admin/v1/peers/fd"; }
shows() { peer | grep -qF "$1"; }
# The state itself; the history has the words of earlier ones.
is() { peer | grep -qE "\"transport\":\"t(cp|ls)\",\"state\":\"$1\""; }
reason() { peer | grep -oE '"usable":[a-z]+,"since":"[^"]*","reason":"[^"]*"' | grep -oE '"reason":.*'; }
stop() {
  kill "$1" 2>/dev/null || true
  for _ in $(seq 100); do kill -0 "$1" 2>/dev/null || return 0; sleep 0.1; done
  kill -9 "$1" 2>/dev/null || true
}

echo "freeDiameter $(freeDiameterd --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -1), farebox $("$farebox" version)"

gateway "$plain" - -
freediameter fd NORMAL -
until_ok 20 "farebox opens freeDiameter" is open
passed "farebox dials freeDiameter"

kill -9 "$fd"
begun=$(now)
until_ok 5 "death is noticed" is down
passed "freeDiameter killed with -9, noticed after $(($(now) - begun)) ms"
freediameter fd NORMAL -
until_ok 60 "freeDiameter is back" is open
passed "back after kill -9, by three watchdog answers (W-10)"

begun=$(now)
kill -STOP "$fd"
until_ok 25 "silence is noticed" is suspect
passed "freeDiameter stopped with -STOP, suspect after $(($(now) - begun)) ms (two Tw of 6 s, jittered)"
kill -CONT "$fd"
until_ok 10 "it is back" is open
passed "continued, in use again at the first message (W-08)"

"$farebox" peer maint fd --yes --admin-url "http://127.0.0.1:$admin" >/dev/null
until_ok 10 "maintenance" shows "in maintenance"
grep -qE "DPR|Disconnect" fd.log || true
passed "DPR from farebox, answered, and no connection in maintenance"
"$farebox" peer ready fd --admin-url "http://127.0.0.1:$admin" >/dev/null
until_ok 60 "ready again" is open
stop "$fd"
until_ok 10 "a DPR of freeDiameter" shows "it sent a DPR, REBOOTING"
passed "DPR from freeDiameter (REBOOTING), answered"
stop "$cg"

gateway - "$inbound" -
freediameter fd NORMAL dial
until_ok 30 "freeDiameter opens farebox" is open
passed "freeDiameter dials farebox (responder side)"
stop "$fd"
stop "$cg"

gateway "$plain" "$inbound" -
freediameter fd NORMAL dial
until_ok 60 "crossing connections" is open
sleep 2
is open || fail "crossing connections: it did not stay open"
passed "both dial each other: open, and it stays so"
stop "$fd"
stop "$cg"

gateway "$secure" - 1.3
freediameter fd "NORMAL:-VERS-ALL:+VERS-TLS1.3" -
until_ok 20 "TLS 1.3" is open
passed "TLS 1.3, both certificates right"
stop "$fd"
freediameter fd "NORMAL:-VERS-ALL:+VERS-TLS1.2" -
until_ok 20 "TLS 1.2 without the switch" shows "shares no version"
passed "TLS 1.2 refused without min_version: $(reason)"
stop "$cg"
gateway "$secure" - 1.2
until_ok 20 "TLS 1.2" is open
passed "TLS 1.2 with min_version: 1.2"
stop "$cg"
gateway "$secure" - 1.2 x.interop.example.net
until_ok 30 "a certificate for another name" shows "certificate is for"
passed "a certificate for another name refused: $(reason)"
stop "$cg"
stop "$fd"
gateway "$secure" - 1.2
freediameter foreign NORMAL - other
until_ok 30 "a foreign CA" shows "no CA of ours"
passed "a certificate of another CA refused: $(reason)"
echo "all passed"
