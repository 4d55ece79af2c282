#!/usr/bin/env bash
# A Debian package of the laptop build: the program, its other name `pvr`, completions for three shells, manual pages.
#
#     packaging/deb.sh                      # builds for release, then packs: target/debian/pvr-agent_<version>_<arch>.deb
#     packaging/deb.sh --bin some/pvr-agent # packs a program that is there; this machine has to be able to run it
#     packaging/deb.sh --out folder         # into another folder
#
# Wants dpkg-deb, which every Debian has, and nothing of debhelper. What is written into the package stands in Cargo.toml
# ([package.metadata.deb], in the words of cargo-deb); whose work is linked into it, copyright.sh asks Cargo. The same
# program gives the same bytes: times are SOURCE_DATE_EPOCH, or those of the last commit.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
start=$PWD
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
bin='' out=$target/debian
usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit 2
}
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
    --bin) bin=$(cd "$start" && realpath -e -- "$2") ;;
    --out) out=$(cd "$start" && mkdir -p -- "$2" && realpath -e -- "$2") ;;
    *) usage ;;
    esac
    shift 2
done
command -v dpkg-deb >/dev/null || { echo "no dpkg-deb: a Debian package is made on Debian" >&2; exit 1; }
if [ -z "$bin" ]; then
    cargo build --release --locked
    bin=$target/release/pvr-agent
fi

# A text of a section of Cargo.toml.
told() {
    awk -v section="[$1]" -v key="$2 = \"" '
        /^\[/ { inside = $0 == section }
        inside && index($0, key) == 1 { text = substr($0, length(key) + 1); sub(/"[^"]*$/, "", text); print text; found = 1; exit }
        END { if (!found) exit 1 }
    ' Cargo.toml || { echo "Cargo.toml has no $2 in [$1]" >&2; exit 1; }
}
name=$(told package name)
version=$(told package version)
about=$(told package description)
maintainer=${DEBEMAIL:+${DEBFULLNAME:-$name} <$DEBEMAIL>}
maintainer=${maintainer:-$(told package.metadata.deb maintainer)}
section=$(told package.metadata.deb section)
priority=$(told package.metadata.deb priority)
more=$(told package.metadata.deb extended-description)
arch=$(dpkg --print-architecture)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.lock)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
share=$root/usr/share
doc=$share/doc/$name
mkdir -p "$root/DEBIAN" "$doc" "$share/man/man1" "$share/bash-completion/completions" \
    "$share/zsh/vendor-completions" "$share/fish/vendor_completions.d"

install -D -m 755 "$bin" "$root/usr/bin/$name"
ln -s "$name" "$root/usr/bin/pvr"

"$root/usr/bin/pvr" completion bash >"$share/bash-completion/completions/pvr"
"$root/usr/bin/pvr" completion zsh >"$share/zsh/vendor-completions/_pvr"
"$root/usr/bin/pvr" completion fish >"$share/fish/vendor_completions.d/pvr.fish"
for page in "$name" pvr; do
    "$bin" man "$page" | gzip -9n >"$share/man/man1/$page.1.gz"
done
gzip -9n <CHANGELOG.md >"$doc/changelog.gz"
packaging/copyright.sh >"$doc/copyright"

# What a dynamic program needs, as far as it says so itself: the newest symbols of the C library, and who unwinds.
needs=''
libc=$(grep -aoE 'GLIBC_2\.[0-9]+' "$bin" | sort -uV | tail -n 1 | sed 's/GLIBC_//' || true)
[ -z "$libc" ] || needs="libc6 (>= $libc)"
! grep -aqF 'libgcc_s.so.1' "$bin" || needs="${needs:+$needs, }libgcc-s1"

size=$(find "$root/usr" -printf '%y %s\n' | awk '{ k += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print k }')
{
    echo "Package: $name"
    echo "Version: $version"
    echo "Architecture: $arch"
    echo "Maintainer: $maintainer"
    echo "Installed-Size: $size"
    [ -z "$needs" ] || echo "Depends: $needs"
    echo "Section: $section"
    echo "Priority: $priority"
    echo "Description: $about"
    fold -s -w 78 <<<"$more" | sed 's/ *$//; s/^/ /'
} >"$root/DEBIAN/control"
(cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"

find "$root" -print0 | xargs -0 touch --no-dereference --date "@$epoch"
mkdir -p "$out"
deb=$out/${name}_${version}_$arch.deb
# Under another name until it is whole. More than one thread would cut what is packed in other places.
SOURCE_DATE_EPOCH=$epoch dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" "$work/deb" >&2
mv "$work/deb" "$deb"
echo "$deb"
