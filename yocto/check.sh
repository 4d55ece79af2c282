#!/usr/bin/env bash
# What can be known of the Yocto layer without a Yocto build; README.md says what that leaves open.
#
# Parses the layer with BitBake's own parser, unpacks the sources and the listed crates with its fetcher, builds from
# them with no network, carries out do_install, and tries the init script under busybox and the unit with
# systemd-analyze. What needs root or a tool that isn't there is skipped by name, and fails in CI (CI_RUN=1).
#
# The sources are those of the commit that is checked out, not what has been changed since.
set -euo pipefail
cd "$(dirname "$0")/.."
here=$PWD
target=${CARGO_TARGET_DIR:-$here/target}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped=0

say() { printf '\n-- %s\n' "$*"; }
ok() { echo "ok: $*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
skip() {
    [ -z "${CI_RUN:-}" ] || fail "$* (it has to run in CI)"
    echo "SKIPPED: $*"
    skipped=$((skipped + 1))
}
quiet() { # what, command…: shows the output only if it fails
    local what=$1
    shift
    "$@" >"$work/output" 2>&1 || {
        cat "$work/output" >&2
        fail "$what"
    }
}

# As root on Debian, CI gets what it needs.
missing=
for pair in busybox:busybox systemd-analyze:systemd python3:python3 readelf:binutils unshare:util-linux git:git; do
    command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
done
python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
if [ -n "$missing" ] && [ -n "${CI_RUN:-}" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    apt-get update -q
    # shellcheck disable=SC2086 # the packages are words
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
fi

say "the list of crates"
yocto/update-crates.sh --check
ok "it is that of Cargo.lock"

say "BitBake"
bitbake=$target/yocto-check/bitbake
if ! cmp -s yocto/check/requirements.txt "$bitbake/requirements.txt"; then
    rm -rf "$bitbake"
    if ! python3 -m pip install --quiet --no-deps --require-hashes --root-user-action=ignore --target "$bitbake" \
        -r yocto/check/requirements.txt; then
        skip "parsing, building and installing: BitBake is not to be had (python3, pip and a network are needed)"
        exit 0
    fi
    cp yocto/check/requirements.txt "$bitbake/requirements.txt"
fi
ok "$(cut -d' ' -f1 yocto/check/requirements.txt)"

series=$(sed -n 's/^LAYERSERIES_COMPAT_pvr-agent = "\(.*\)"/\1/p' yocto/meta-pvr-agent/conf/layer.conf)
[ -n "$series" ] || fail "layer.conf names no releases"
for release in $series; do
    say "parse and fetch, as on $release"
    mkdir "$work/$release"
    PYTHONPATH=$bitbake PYTHONDONTWRITEBYTECODE=1 \
        python3 yocto/check/metadata.py "$work/$release" "$release" "$here" 2>"$work/stderr" || {
        tail -n 20 "$work/stderr" >&2
        fail "the metadata, as on $release"
    }
done

value() { sed -n "s/^$2=//p" "$work/$1"; } # file, name
first=${series%% *}
say "do_compile, from the listed crates alone"
# Not what ships, but built from the same: optimising takes minutes and shows nothing here.
export CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
quiet "do_compile" env -u CARGO_TARGET_DIR sh "$work/$first/run/compile-target"
where=$first/run/where-target
built=$(value "$where" B)/target/$(value "$where" CARGO_TARGET_SUBDIR)/pvr-agent
"$built" --version | grep -qx "pvr-agent $(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)" || fail "$built is not it"
ok "$("$built" --version)"
readelf -S "$built" | grep '\.symtab' >/dev/null || fail "do_compile stripped the binary"
ok "its symbols are there for the -dbg package"

say "do_install"
for release in $series; do
    for variant in target native nativesdk; do
        where=$release/run/where-$variant
        mkdir -p "$(value "$where" B)/target/$(value "$where" CARGO_TARGET_SUBDIR)"
        place=$(value "$where" B)/target/$(value "$where" CARGO_TARGET_SUBDIR)/pvr-agent
        [ "$place" = "$built" ] || cp "$built" "$place"
        (umask 077 && quiet "do_install, $release, $variant" sh "$work/$release/run/install-$variant")
        bindir=$(value "$where" bindir)
        printf -- '-rwxr-xr-x %s\n' "${bindir#/}/pvr-agent" >"$work/wanted"
        if [ "$variant" = target ]; then
            cat >>"$work/wanted" <<-EOF
				-rw-r--r-- etc/default/pvr-agent
				-rwxr-xr-x etc/init.d/pvr-agent
				-rwxr-xr-x srv/www/cgi-bin/.pvrremote
				-rwxr-xr-x srv/www/cgi-bin/index.cgi
				-rwxr-xr-x srv/www/cgi-bin/logs
				-rwxr-xr-x srv/www/cgi-bin/openapi.json
				-rwxr-xr-x srv/www/cgi-bin/pvr
				-rwxr-xr-x srv/www/cgi-bin/pvtx
				-rw-r--r-- usr/lib/systemd/system/pvr-agent.service
			EOF
        fi
        image=$(value "$where" D)
        find "$image" ! -type d -printf '%M %P\n' | sort -k 2 | diff <(sort -k 2 "$work/wanted") - ||
            fail "what do_install leaves, $release, $variant"
        [ -z "$(find "$image" -type d ! -perm 0755)" ] || fail "modes of folders, $release, $variant"
        ! grep -rIn '@[A-Z]*@' "$image" || fail "a placeholder is left, $release, $variant"
        ok "$release, $variant: $(wc -l <"$work/wanted") files with their modes"
    done
done
image=$(value "$first/run/where-target" D)
for name in pvr pvtx logs openapi.json .pvrremote index.cgi; do
    [ "$(cat "$image/srv/www/cgi-bin/$name")" = '#!/usr/bin/pvr-agent cgi' ] || fail "the CGI $name is not that one line"
done
ok "each CGI is one line"

say "names"
# A name is offered as an alternative exactly when the binary answers to it.
recipe=$(echo yocto/meta-pvr-agent/recipes-core/pvr-agent/pvr-agent_*.bb)
offered=" $(sed -n 's/^ALTERNATIVE:${PN}:class-target = "\(.*\)"/\1/p' "$recipe") "
for name in pvr pvtx pvcontrol pvcurl; do
    answers=yes
    case $("$built" "$name" 2>&1 </dev/null || true) in
    *"unrecognized subcommand"*) answers=no ;;
    esac
    case $offered in
    *" $name "*) listed=yes ;;
    *) listed=no ;;
    esac
    [ "$answers" = "$listed" ] || fail "$name: the binary has it: $answers; ALTERNATIVE has it: $listed"
    ok "$name: $answers"
done
ln -s pvr-agent "$image/usr/bin/pvr"
case $("$image/usr/bin/pvr" --help 2>&1 || true) in
*clone*) ;;
*) fail "the alternative is no pvr" ;;
esac
rm "$image/usr/bin/pvr"
ok "called pvr, it is pvr"

say "what meta-pantavisor's classes call"
rows=0 wanting=0
while IFS='|' read -r _ class calls missing _; do
    found=
    for command in $calls; do
        case $("$built" pvr "$command" --help 2>&1 || true) in
        "No help topic for"*) found="$found $command" ;;
        esac
    done
    # shellcheck disable=SC2086,SC2116 # blanks don't count
    [ "$(echo ${found:-nothing})" = "$(echo $missing)" ] ||
        fail "README.md: what$class misses is${found:- nothing}, not$missing"
    [ -z "$found" ] || wanting=$((wanting + 1))
    rows=$((rows + 1))
done < <(grep -E '^\| `[a-z-]+` \| [a-z ]+ \| [a-z ]+ \|$' yocto/README.md)
[ "$rows" -ge 6 ] || fail "README.md has $rows rows of classes"
[ "$wanting" -gt 0 ] || fail "every class has what it calls: pvr-agent-native can provide pvr-native"
case $("$built" cgi 2>&1 </dev/null || true) in
*REQUEST_METHOD*) ;;
*) fail "the command that the CGI package runs does not ask for a request" ;;
esac
ok "README.md says what is missing, of $rows classes"

say "the systemd unit"
if command -v systemd-analyze >/dev/null; then
    # The binary is not where the unit says, but in the folder of do_install.
    sed "s,/usr/bin/pvr-agent,$image&," "$image/usr/lib/systemd/system/pvr-agent.service" >"$work/pvr-agent.service"
    systemd-analyze verify --man=no "$work/pvr-agent.service" 2>"$work/output" || {
        cat "$work/output" >&2
        fail "systemd-analyze verify"
    }
    # It ends with 0 after many a complaint.
    ! grep -F 'pvr-agent.service' "$work/output" >&2 || fail "systemd-analyze verify has complaints"
    ok "systemd-analyze verify has no complaints"
    # From 0 to 10; what is left is that it is root and that it talks to a network.
    quiet "systemd-analyze security: the unit leaves more open than 2.8 of 10" \
        systemd-analyze security --offline=yes --threshold=28 --no-pager "$work/pvr-agent.service"
    ok "systemd-analyze security: the unit leaves at most 2.8 of 10 open"
else
    skip "systemd-analyze verify: there is no systemd here"
fi

say "the init script"
if [ "$(id -u)" = 0 ] && command -v busybox >/dev/null && unshare --mount --pid --net --fork true 2>/dev/null; then
    root=$work/root
    cp -a "$image" "$root"
    mkdir -p "$root"/{bin,dev,proc,run,tmp}
    cp "$(command -v busybox)" "$root/bin/busybox"
    # These and no others: what the script needs beyond them would not be found.
    for applet in sh cat grep ifconfig ls mkdir mkfifo rm sleep start-stop-daemon tr logger syslogd wget cp; do
        ln -s busybox "$root/bin/$applet"
    done
    # What the binary and busybox are linked with, where they are not static.
    for file in $(ldd "$root/usr/bin/pvr-agent" "$root/bin/busybox" | grep -o '/[^ :)]*\.so[^ :)]*' | sort -u); do
        mkdir -p "$root$(dirname "$file")"
        cp -L "$file" "$root$file"
    done
    mknod -m 666 "$root/dev/null" c 1 3
    (cd "$root" && timeout 2 "$built" serve --port 0 >/dev/null 2>&1) || true
    mv "$root/pvroot" "$root/storage"
    cp yocto/check/service.sh "$root/service.sh"
    busybox sh -n "$root/etc/init.d/pvr-agent" || fail "busybox sh can't read the init script"
    # Whatever is left running ends with the namespace.
    unshare --mount --pid --net --fork sh -c \
        'mount -t proc proc "$1/proc" && exec chroot "$1" /bin/sh /service.sh' sh "$root" || fail "the init script"
else
    skip "starting and stopping: it takes root, namespaces and busybox"
fi

printf '\nyocto/check.sh: all is well, %s skipped\n' "$skipped"
