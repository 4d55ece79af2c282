#!/usr/bin/env bash
# Static binaries for devices.
#
#     cross/build.sh all
#     cross/build.sh armv7-unknown-linux-musleabihf mips-unknown-linux-musl
#     FEATURES=device,tls cross/build.sh all
#     CROSS_OUT=/some/folder cross/build.sh all
#
# Puts them into cross/out/<target>/pvr-agent and prints size and sha256 of each; one that is larger than cross/limits.txt
# allows is a failure. The same sources and the same compiler give the same bytes, wherever the checkout is.
#
# C compiler, linker and libc come with zig, from PyPI, into a folder of the target directory. The standard library is
# built along from its source, because no ready one exists for MIPS, and because it is smaller when it is built for
# size: with rustup's compiler where `rust-src` is installed or can be added, else with Debian's (rustc-web, cargo-web,
# rust-web-src). Where there is no such source, or CROSS_STD=ready says so, a ready library of the target serves, if rustup
# has one; the binary is a fifth larger then.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(pwd -P)
. cross/lib.sh

[ $# -gt 0 ] || { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
wanted=$(chosen "$@")
features=${FEATURES:-device}
case ",$features," in *,tls,*) column=3 ;; *) column=2 ;; esac

# Flags come from .cargo/config.toml and from here: these would replace them.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS CARGO_BUILD_TARGET RUSTC_WRAPPER
work=${CARGO_TARGET_DIR:-target}
mkdir -p "$work/cross"
work=$(cd "$work/cross" && pwd -P)
export CARGO_TARGET_DIR=$work CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never
export PATH=$work/zig-venv/bin:$PATH
export ZIG_GLOBAL_CACHE_DIR=$work/zig-cache ZIG_LOCAL_CACHE_DIR=$work/zig-cache CARGO_ZIGBUILD_CACHE_DIR=$work/zigbuild

# The linker: pinned, because another one gives other bytes.
zig=$work/zig-venv
pins=(cargo-zigbuild==0.24.0 ziglang==0.15.2)
if [ "$(cat "$zig/pins" 2>/dev/null)" != "${pins[*]}" ]; then
    need python3 python3
    rm -rf "$zig"
    # Debian's python3 has no ensurepip without python3-venv.
    python3 -m venv "$zig" || { install_packages python3-venv && python3 -m venv --clear "$zig"; }
    "$zig/bin/pip" install --quiet --disable-pip-version-check "${pins[@]}"
    echo "${pins[*]}" >"$zig/pins"
fi

# The compiler, and the source of its standard library.
has_source() { [ -d "$("$1" --print sysroot 2>/dev/null)/lib/rustlib/src/rust/library/std" ]; }
debian=/usr/bin/rustc
command -v cargo >/dev/null 2>&1 || PATH=$HOME/.cargo/bin:$PATH
rustc=$(command -v rustc || true)
if [ "${CROSS_STD:-}" = ready ]; then
    source=none
elif [ -n "$rustc" ] && has_source "$rustc"; then
    :
elif has_source "$debian"; then
    rustc=$debian
elif command -v rustup >/dev/null 2>&1 && timeout 120 rustup component add rust-src >&2 && has_source "$rustc"; then
    :
elif install_packages rustc-web cargo-web rust-web-src && has_source "$debian"; then
    rustc=$debian
else
    source=none
fi
[ -n "$rustc" ] || { echo "no Rust: install rustup, or Debian's rustc-web, cargo-web and rust-web-src" >&2; exit 1; }
case $rustc in "$debian") PATH=$zig/bin:/usr/bin:$PATH ;; esac
export RUSTC=$rustc CARGO_HOME=${CARGO_HOME:-$HOME/.cargo}
sysroot=$("$rustc" --print sysroot)
ready() { [ -d "$("$rustc" --print target-libdir --target "$1")" ]; }

build_std=()
if [ -z "${source:-}" ]; then
    export RUSTC_BOOTSTRAP=1
    build_std=(-Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size)
else
    CARGO_TARGET_DIR=$work/ready # the compiler would meet two standard libraries in one folder
fi
printf 'with %s, %s\n' "$("$rustc" --version)" \
    "$([ -n "${source:-}" ] && echo 'a ready standard library' || echo 'the standard library built for size')"

# Where things are on this machine does not belong into the binary. What comes later in the list goes before.
all=()
for target in $wanted; do all+=(--target "$target"); done
cargo fetch --locked --quiet "${build_std[@]:0:1}" "${all[@]}"
places=("$root=/pvr-agent" "$work=/target" "$sysroot/lib/rustlib/src/rust=/rust")
for registry in "$CARGO_HOME"/registry/src/*; do places+=("$registry=/crates"); done
# Nothing unwinds: a panic aborts.
flags="'-Cforce-unwind-tables=no'"
for place in "${places[@]}"; do flags+=", '--remap-path-prefix=$place'"; done
# Every error can be shown to programmers, whose names are all that anything here prints of that. Only a compiler that may build the
# standard library knows how to leave out the rest.
[ -n "${source:-}" ] || flags+=", '-Zfmt-debug=shallow'"


settings=()
for target in $wanted; do
    if [ -n "${source:-}" ] && ! ready "$target"; then
        timeout 120 rustup target add "$target" >&2 && ready "$target" || {
            echo "$target: neither a standard library nor its source, and none can be installed from here" >&2
            exit 1
        }
    fi
    own=$flags
    # Every ARMv7 processor that runs Linux has these shorter instructions.
    case $target in armv7-*) own+=", '-Ctarget-feature=+thumb-mode'" ;; esac
    # What repeats in the machine code is made a function, where size and memory are promised. Once only: run again over its own
    # functions, LLVM's outliner has them call others on ARM without keeping where they were called from, and they never return.
    case $target in armv7-* | x86_64-*) own+=", '-Cllvm-args=-enable-machine-outliner=always'" ;; esac
    # Given to the linker as they are: zig compiles what is C.
    case $target in arm-* | armv* | mips*) own+=", '-Clink-arg=cross/clock.c'" ;; esac
    case $target in mips*) own+=", '-Clink-arg=-Wl,-T,cross/mips.ld'" ;; esac
    settings+=(--config "target.$target.rustflags=[$own]")
done
[ -z "${CROSS_SYMBOLS:-}" ] || settings+=(--config 'profile.device.strip=false')
cargo-zigbuild zigbuild --locked --profile device --bin pvr-agent "${all[@]}" \
    --no-default-features --features "$features" "${settings[@]}" "${build_std[@]}"

rows=() failed=0
for target in $wanted; do
    out=${CROSS_OUT:-cross/out}/$target
    mkdir -p "$out"
    # Under a name of its own first: one that is being run cannot be written over.
    cp "$CARGO_TARGET_DIR/$target/device/pvr-agent" "$out/pvr-agent.new"
    mv "$out/pvr-agent.new" "$out/pvr-agent"
    bytes=$(stat -c %s "$out/pvr-agent")
    limit=$(awk -v target="$target" -v column=$column '$1 == target { print $column }' cross/limits.txt)
    verdict=
    if [ "$bytes" -gt "$limit" ]; then
        # The limits are for what is given to devices: stripped, and with a standard library built for size.
        if [ -n "${CROSS_SYMBOLS:-}${source:-}" ]; then verdict=" (not held to it)"; else verdict=" TOO LARGE" failed=1; fi
    fi
    sum=$(sha256sum "$out/pvr-agent")
    rows+=("$(printf '%-31s %9d %9d  %s%s' "$target" "$bytes" "$limit" "${sum%% *}" "$verdict")")
done

printf '\n%s, in %s\n%-31s %9s %9s  %s\n' "$features" "${CROSS_OUT:-cross/out}" target bytes limit sha256
printf '%s\n' "${rows[@]}"
exit $failed
