#!/usr/bin/env bash
# Runs every fuzz target for so many seconds, ten minutes unless told, and says what came of each. Ends with 1 at a finding.
#
#     fuzz/all.sh [SECONDS [TARGET…]]
#
# What is found stays in fuzz/artifacts; what is new in a corpus stays out of the repository until `cargo fuzz cmin` has been there.
set -euo pipefail
cd "$(dirname "$0")"
export RUSTC_BOOTSTRAP=1
seconds=${1:-600}
shift || true
[ $# -gt 0 ] || set -- $(ls checks | sed 's/\.rs$//')
work=$(mktemp -d "${TMPDIR:-/tmp}/fuzz.XXXXXX")
trap 'rm -rf "$work"' EXIT
cargo fuzz build
found=0
for target in "$@"; do
    mkdir "$work/$target"
    cp corpus/"$target"/* "$work/$target/"
    # A thread of a pool that begins or ends just when it is looked for leaks would be taken for one.
    if cargo fuzz run "$target" "$work/$target" -- -max_total_time="$seconds" -detect_leaks=0 >"$work/log" 2>&1; then
        printf '%-18s %s\n' "$target" "$(tail -n 1 "$work/log")"
    else
        found=1
        printf '%-18s FOUND:\n' "$target"
        tail -n 25 "$work/log"
    fi
done
exit "$found"
