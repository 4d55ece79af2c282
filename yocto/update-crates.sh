#!/bin/sh
# Writes the list of crates for the recipe from Cargo.lock; --check only says whether the list is that of Cargo.lock.
set -eu
cd "$(dirname "$0")/.."
list=yocto/meta-pvr-agent/recipes-core/pvr-agent/pvr-agent-crates.inc

crates() {
    awk '
        function flush() {
            if (name == "" || source == "") return   # our own package has no source
            if (source !~ /^registry\+/ || sum == "") {
                print name " " version " is not from a registry: the recipe has to be told by hand" > "/dev/stderr"
                bad = 1
                exit 1
            }
            # The fetcher wants the name of the registry, which is that of its index less "-index".
            host = source
            sub(/^.*\//, "", host)
            sub(/-index$/, "", host)
            uris = uris "    crate://" host "/" name "/" version " \\\n"
            sums = sums "SRC_URI[" name "-" version ".sha256sum] = \"" sum "\"\n"
        }
        /^\[\[package\]\]/ { flush(); name = version = source = sum = "" }
        /^name = /     { name = value($0) }
        /^version = "/ { version = value($0) }
        /^source = /   { source = value($0) }
        /^checksum = / { sum = value($0) }
        function value(line) { split(line, piece, "\""); return piece[2] }
        END {
            if (bad) exit 1
            flush()
            if (bad) exit 1
            print "# Written by yocto/update-crates.sh from Cargo.lock."
            printf "SRC_URI += \" \\\n%s\"\n%s", uris, sums
        }
    ' Cargo.lock
}

case ${1:-} in
'')
    new=$(crates)
    printf '%s\n' "$new" >"$list"
    ;;
--check)
    new=$(crates)
    printf '%s\n' "$new" | diff -u "$list" - >&2 || {
        echo "$list is not what Cargo.lock has: run yocto/update-crates.sh" >&2
        exit 1
    }
    ;;
*)
    echo "usage: $0 [--check]" >&2
    exit 2
    ;;
esac
