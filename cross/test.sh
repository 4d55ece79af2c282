#!/usr/bin/env bash
# Runs the black-box tests against the binaries of cross/build.sh, each on the processor of its kind (qemu-user).
#
#     cross/test.sh all
#     cross/test.sh --smoke armv7-unknown-linux-musleabihf mips-unknown-linux-musl
#     cross/test.sh --tls all         what takes TLS, against binaries that have it (FEATURES=device,tls cross/build.sh)
#     cross/test.sh --list all        only says what would run where
#
# cross/capabilities.txt says which tests these are. PVR_ROUNDS is per cent of the repetitions; 1 unless set, because
# an emulated processor is some ten times slower. A binary that is not there is built.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/lib.sh

kinds='smoke|program' list= tls=
while [ $# -gt 0 ]; do
    case $1 in
        --smoke) kinds=smoke ;;
        --list) list=yes ;;
        --tls) tls=yes ;;
        *) break ;;
    esac
    shift
done
[ $# -gt 0 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
wanted=$(chosen "$@")
tests=$(sed 's/#.*//' cross/capabilities.txt | awk -v kinds="^($kinds)\$" '$2 ~ kinds { print $1 }')
if [ -n "$tls" ]; then
    # Each asks whether there is TLS before it does anything with it.
    tests=$(grep -l 'has_tls()' tests/*.rs | sed 's,.*/,,; s/\.rs$//')
    export PVR_EXPECT_TLS=1 FEATURES=device,tls
fi
if [ -n "$list" ]; then
    for target in $wanted; do printf "$target %s\n" $tests; done
    exit
fi

export PVR_ROUNDS=${PVR_ROUNDS:-1} CARGO_TERM_COLOR=never
need file file
need readelf binutils

# One file without dependencies, for the right processor.
check_file() {
    local said
    said=$(file -b "$2")
    printf '%s\n    %s\n' "$1" "$said"
    case $said in
        *"statically linked"* | *static-pie*) ;;
        *) echo "$1: not static" >&2; return 1 ;;
    esac
    if readelf -lW "$2" | grep -q INTERP; then echo "$1: wants a loader" >&2; return 1; fi
    if readelf -dW "$2" | grep -q NEEDED; then echo "$1: wants libraries" >&2; return 1; fi
}

arguments=()
for test in $tests; do arguments+=(--test "$test"); done
rows=()
for target in $wanted; do
    binary=${CROSS_OUT:-cross/out}/$target/pvr-agent
    [ -x "$binary" ] || cross/build.sh "$target"
    check_file "$target" "$binary"
    runner=$(runner "$target")
    [ -z "$runner" ] || need "${runner%% *}" qemu-user-static
    printf '    %s\n' "$(${runner:-} "$binary" --version)"
    begun=$SECONDS
    PVR_AGENT_BIN=$binary PVR_AGENT_RUNNER=$runner cargo test --no-fail-fast "${arguments[@]}"
    rows+=("$(printf '%-31s %2d files in %4d s, %s' "$target" "$(wc -w <<<"$tests")" $((SECONDS - begun)) "${runner:-natively}")")
done
printf '\n'
printf '%s\n' "${rows[@]}"
