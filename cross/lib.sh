# What the scripts of this folder share; they read it from the top of the checkout.

# The targets, as limits.txt lists them.
targets() { sed 's/#.*//' cross/limits.txt | awk 'NF { print $1 }'; }

# What was asked for: one target a line. `all` stands for every one.
chosen() {
    local target
    for target in "$@"; do
        if [ "$target" = all ]; then
            targets
        elif targets | grep -qx -- "$target"; then
            echo "$target"
        else
            printf '%s is no target of cross/limits.txt:\n%s\n' "$target" "$(targets)" >&2
            return 1
        fi
    done
}

# What runs a binary of this target here: the processor that devices of its kind have at least.
runner() {
    case $1 in
        "$(uname -m)"-*) ;;
        armv7-*) echo "qemu-arm-static -cpu cortex-a7" ;;
        arm-*) echo "qemu-arm-static -cpu arm1176" ;;
        armv5te-*) echo "qemu-arm-static -cpu arm926" ;;
        aarch64-*) echo "qemu-aarch64-static" ;;
        mipsel-*) echo "qemu-mipsel-static -cpu 24Kc" ;;
        mips-*) echo "qemu-mips-static -cpu 24Kc" ;;
        riscv64gc-*) echo "qemu-riscv64-static" ;;
        x86_64-*) echo "qemu-x86_64-static" ;;
        *) echo "no emulator is known for $1" >&2; return 1 ;;
    esac
}

# Debian's packages, where this may be done: `need COMMAND PACKAGE…`.
need() {
    local command=$1
    shift
    command -v "$command" >/dev/null 2>&1 && return
    install_packages "$@" && command -v "$command" >/dev/null 2>&1 && return
    echo "$command is missing, and cannot be installed from here: on Debian it is in $*" >&2
    return 1
}

install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >&2
}
