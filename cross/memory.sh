#!/usr/bin/env bash
# The memory of a binary of cross/build.sh: idle, and while five clients upload and download at once.
#
#     cross/memory.sh x86_64-unknown-linux-musl 1024                  MiB in all
#     cross/memory.sh x86_64-unknown-linux-musl 1024 3072 8192        KiB that it may take, idle and at most: more is a failure
#
# A binary for this processor is asked for VmRSS and VmHWM. Under an emulator, whose own memory would be counted along,
# the program's address space is put at a known place within the emulator's, and what is resident there is added up, a
# hundred times a second: the highest sum is no more than a lower bound of the peak.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/lib.sh
[ $# = 2 ] || [ $# = 4 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
target=$(chosen "$1") mib=$2 most_idle=${3:-} most=${4:-}
binary=$(realpath "${CROSS_OUT:-cross/out}/$target/pvr-agent")
runner=$(runner "$target")
need curl curl
work=$(mktemp -d "${TMPDIR:-/tmp}/memory.XXXXXX")
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT

[ -z "$runner" ] || runner+=" -B 0x200000000000"
# It makes a storage in the folder that it is started in.
(cd "$work" && exec $runner "$binary" serve --port 0 >out 2>/dev/null) &
pid=$!
until grep -qs "^stand-alone" "$work/out"; do sleep 0.1; done
url=$(awk '$1 == "URL:" { print $2 }' "$work/out")
curl -sf -o "$work/first" "$url/json"
sleep 2

resident() { # in KiB: all of it, and what is not of the file
    awk '
        $1 ~ /^[0-9a-f]+-[0-9a-f]+$/ { inside = length($1) == 25 && $1 ~ /^20/; of_file = NF > 5 }
        inside && $1 == "Rss:" { all += $2; if (!of_file) own += $2 }
        END { print all + 0, own + 0 }' "/proc/$pid/smaps"
}
status() { awk -v name="$1:" '$1 == name { print $2 }' "/proc/$pid/status"; }
if [ -n "$runner" ]; then read -r idle idle_own < <(resident); else idle=$(status VmRSS); fi

each=$((mib / 5))
for n in 1 2 3 4 5; do
    (
        openssl enc -aes-128-ctr -pass "pass:$n" -nosalt -in /dev/zero 2>/dev/null | head -c "${each}M" >"$work/$n" || true
        sha=$(sha256sum "$work/$n" | cut -d' ' -f1)
        echo "$sha" >"$work/$n.sha"
    )
done
for n in 1 2 3 4 5; do
    (
        sha=$(cat "$work/$n.sha")
        curl -sf -o /dev/null -T "$work/$n" "$url/objects/$sha/blob"
        curl -sf "$url/objects/$sha/blob" | cmp - "$work/$n"
    ) &
    clients+=($!)
done
peak=0 peak_own=0
(for client in "${clients[@]}"; do while kill -0 "$client" 2>/dev/null; do sleep 0.01; done; done; touch "$work/done") &
while [ ! -e "$work/done" ]; do
    if [ -n "$runner" ]; then
        read -r now own < <(resident)
        [ "$now" -le "$peak" ] || peak=$now
        [ "$own" -le "$peak_own" ] || peak_own=$own
    fi
    sleep 0.01
done
for client in "${clients[@]}"; do wait "$client"; done
[ -n "$runner" ] || peak=$(status VmHWM)
printf '%s: %s bytes; idle %s KiB, peak %s KiB while %s MiB came and went over 5 connections\n' \
    "$target" "$(stat -c %s "$binary")" "$idle" "$peak" "$((each * 5))"
[ -z "$runner" ] || printf '    of that not pages of the file: idle %s KiB, peak %s KiB\n' "$idle_own" "$peak_own"
if [ -n "$most" ] && { [ "$idle" -gt "$most_idle" ] || [ "$peak" -gt "$most" ]; }; then
    echo "$target: that is more than $most_idle KiB idle, or than $most KiB" >&2
    exit 1
fi
