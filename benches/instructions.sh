#!/usr/bin/env bash
# Instructions per message, counted by callgrind: two run lengths, so that the start-up cancels out.
# Usage: benches/instructions.sh   (needs valgrind)
set -euo pipefail
cd "$(dirname "$0")/.."
bench=$(cargo bench --bench codec --no-default-features --no-run --message-format=json 2>/dev/null |
  sed -n 's/.*"name":"codec".*"executable":"\([^"]*\)".*/\1/p' | tail -1)
few=100 many=1100
count() { # message case turns
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$bench" --run "$1" "$2" "$3" 2>&1 |
    sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}
printf '%-10s %-20s %14s\n' message case instructions
for message in ACR-Stop CCR-T; do
  for case in decode-view decode-tree decode-rival encode-put encode-tree encode-rival encode-rival-built; do
    a=$(count "$message" "$case" $few)
    b=$(count "$message" "$case" $many)
    printf '%-10s %-20s %14d\n' "$message" "$case" $(((b - a) / (many - few)))
  done
done
