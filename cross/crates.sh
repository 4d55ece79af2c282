#!/usr/bin/env bash
# What takes the room in a binary: builds it once more with its symbols, and adds them up by crate.
#
#     cross/crates.sh armv7-unknown-linux-musleabihf
#
# A function counts for the crate that its name begins with; one that was generated for somebody else's type, like
# `<hyper::Request as Drop>::drop`, for the crate of that type. Inlined code counts for whoever it was put into.
set -euo pipefail
cd "$(dirname "$0")/.."
. cross/lib.sh
[ $# = 1 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
target=$(chosen "$1")
out=$(cd "${CARGO_TARGET_DIR:-target}" && pwd -P)/cross/symbols
CROSS_SYMBOLS=yes CROSS_OUT=$out cross/build.sh "$target" >&2
readelf -SW "$out/$target/pvr-agent" | python3 -c '
import re, sys
sections = re.findall(r"\] (\.\S+) +\S+ +\S+ +\S+ +([0-9a-f]+)", sys.stdin.read())
print("| section | bytes |\n|---|---|")
loaded = [(int(size, 16), name) for name, size in sections if not re.match(r"\.(symtab|strtab|shstrtab|comment|debug|bss|tbss|relro)", name)]
for size, name in sorted(loaded, reverse=True)[:8]:
    print(f"| `{name}` | {size:,} |")
'
readelf -sW --demangle=auto "$out/$target/pvr-agent" | python3 -c '
import collections, re, sys
own, most, seen = collections.Counter(), collections.Counter(), set()
for line in sys.stdin:
    words = line.split(None, 7)
    if len(words) < 8 or words[3] not in ("FUNC", "OBJECT") or (words[1], words[3]) in seen:
        continue
    seen.add((words[1], words[3]))
    size, name = int(words[2], 0), words[7].strip()
    path = re.sub(r"^core::ptr::drop_(in_place|glue)::?<(.*)>.*", r"\2", name)
    path = re.sub(r"^(?:[<&\[(*]|mut |dyn |const |for<.*?> |\x27\w+ )+", "", path)
    crate = path.split("::")[0] if "::" in path else "C: musl, start-up, compiler-rt"
    crate = re.sub(r"\[[0-9a-f]+\]$", "", crate)
    crate = "std, core, alloc" if crate in ("std", "core", "alloc", "hashbrown", "gimli", "addr2line", "object", "rustc_demangle", "miniz_oxide", "__rustc", "panic_abort", "compiler_builtins", "libunwind") or not re.match(r"[a-z_0-9]+$", crate) and "::" in path else crate
    own[crate] += size
    if crate == "pvr_agent":
        crate += "::" + path.split("::")[1]
        most[crate] += size
whole = sum(own.values())
print(f"\n| crate | bytes | of {whole:,} |\n|---|---|---|")
for name, size in own.most_common(25):
    print(f"| {name} | {size:,} | {100 * size / whole:.1f} % |")
print("\n| of pvr_agent | bytes |\n|---|---|")
for name, size in most.most_common():
    print(f"| {name} | {size:,} |")
'
