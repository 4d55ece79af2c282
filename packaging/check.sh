#!/usr/bin/env bash
# Makes the Debian package, twice, and tries it: what is in it, what it needs, installed and removed again below a folder,
# and the program run from there.
#
#     packaging/check.sh [PROGRAM]     # without one, that of the last `cargo build`, stripped
#
# What needs root or a tool that isn't there is skipped by name, and fails in CI (CI_RUN=1).
set -euo pipefail
program=${1:+$(realpath -e -- "$1")}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

ok() { echo "ok: $*"; }
fail() {
    echo "FAILED: $*" >&2
    exit 1
}
skip() {
    [ -z "${CI_RUN:-}" ] || fail "$* (it has to run in CI)"
    echo "SKIPPED: $*"
}

command -v dpkg-deb >/dev/null || { skip "the package: there is no dpkg-deb"; exit 0; }
if [ -z "$program" ]; then
    cargo build --quiet --locked
    program=$work/pvr-agent
    # Symbols for debugging are most of such a program, and packing them most of the time.
    strip -o "$program" "${CARGO_TARGET_DIR:-target}/debug/pvr-agent"
fi

deb=$(packaging/deb.sh --bin "$program" --out "$work/first" 2>"$work/said") || { cat "$work/said" >&2; fail "packing"; }
# Another user's habits, another day, another folder: the same bytes.
cp "$program" "$work/again"
again=$(umask 077 && cd / && TZ=Asia/Tokyo LANG=C.UTF-8 "$OLDPWD/packaging/deb.sh" --bin "$work/again" --out "$work/second" 2>"$work/said")
cmp "$deb" "$again" || fail "packed twice, the bytes differ"
ok "packed twice, the same bytes: $(basename "$deb"), $(stat -c %s "$deb") bytes"

wanted='drwxr-xr-x ./
drwxr-xr-x ./usr/
drwxr-xr-x ./usr/bin/
-rwxr-xr-x ./usr/bin/pvr-agent
lrwxrwxrwx ./usr/bin/pvr -> pvr-agent
drwxr-xr-x ./usr/share/
drwxr-xr-x ./usr/share/bash-completion/
drwxr-xr-x ./usr/share/bash-completion/completions/
-rw-r--r-- ./usr/share/bash-completion/completions/pvr
drwxr-xr-x ./usr/share/doc/
drwxr-xr-x ./usr/share/doc/pvr-agent/
-rw-r--r-- ./usr/share/doc/pvr-agent/changelog.gz
-rw-r--r-- ./usr/share/doc/pvr-agent/copyright
drwxr-xr-x ./usr/share/fish/
drwxr-xr-x ./usr/share/fish/vendor_completions.d/
-rw-r--r-- ./usr/share/fish/vendor_completions.d/pvr.fish
drwxr-xr-x ./usr/share/man/
drwxr-xr-x ./usr/share/man/man1/
-rw-r--r-- ./usr/share/man/man1/pvr-agent.1.gz
-rw-r--r-- ./usr/share/man/man1/pvr.1.gz
drwxr-xr-x ./usr/share/zsh/
drwxr-xr-x ./usr/share/zsh/vendor-completions/
-rw-r--r-- ./usr/share/zsh/vendor-completions/_pvr'
dpkg-deb --contents "$deb" >"$work/contents"
diff <(sort <<<"$wanted") <(awk '{ print $1, $6 ($7 ? " " $7 " " $8 : "") }' "$work/contents" | sort) ||
    fail "what is in the package"
[ "$(awk '{ print $2 }' "$work/contents" | sort -u)" = root/root ] || fail "who owns what is in the package"
ok "it holds the program, pvr, completions and manual pages, and nothing else"

# A program names the crates whose code may panic by the folders that they were compiled in.
dpkg-deb --fsys-tarfile "$deb" | tar -xO ./usr/share/doc/pvr-agent/copyright >"$work/copyright"
grep -aoE 'registry/src/[^/]+/[A-Za-z0-9_-]+-[0-9]+\.[0-9]+\.[0-9][^/]*/' "$program" | cut -d / -f 4 | sort -u >"$work/linked"
[ -s "$work/linked" ] || echo "the program names no crates: only those that it has to have are looked for"
printf '%s\n' clap hyper sha2 rustix tokio | while read -r crate; do
    grep -qE "^Files: $crate-[0-9.]+/\*\$" "$work/copyright" || fail "the copyright file lacks $crate"
done
while read -r crate; do
    grep -qxF "Files: $crate/*" "$work/copyright" || fail "the copyright file lacks $crate, which is in the program"
done <"$work/linked"
for kind in Files Copyright License; do grep -c "^$kind: ." "$work/copyright"; done | sort -u >"$work/counts"
[ "$(wc -l <"$work/counts")" = 1 ] || fail "the copyright file has not one licence for each"
if iconv -f UTF-8 "$work/copyright" >/dev/null && ! grep -nE '^[^A-Z ]|^ ?$' "$work/copyright" | grep -vE '^[0-9]+:$'; then
    ok "the copyright file names all $(cat "$work/counts") that are in it, $(wc -l <"$work/linked") of them found in the program"
else
    fail "the copyright file is not of its format"
fi

version=$(dpkg-deb --field "$deb" Version)
[ "$("$program" pvr version)" = "pvr version $version" ] || fail "the version is $version, that of the program is another"
if command -v apt-get >/dev/null; then
    apt-get install --simulate -q "$deb" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "what it needs is not to be had"; }
    ok "what it needs is to be had: $(dpkg-deb --field "$deb" Depends)"
fi

root=$work/root
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$root/var/lib/dpkg/info" "$root/var/lib/dpkg/updates"
    : >"$root/var/lib/dpkg/status"
    # The folder has no C library: that of this machine serves.
    dpkg_there() { PATH=$PATH:/usr/sbin:/sbin dpkg --root="$root" --log=/dev/null --force-depends "$@" >"$work/said" 2>&1 || { cat "$work/said" >&2; fail "dpkg $*"; }; }
    dpkg_there --install "$deb"
    dpkg_there --verify pvr-agent
else
    skip "installing with dpkg: it wants root. Unpacked instead"
    dpkg-deb --extract "$deb" "$root"
fi
[ "$("$root/usr/bin/pvr" version)" = "pvr version $version" ] || fail "pvr from the package"
[ "$("$root/usr/bin/pvr-agent" --version)" = "pvr-agent $version" ] || fail "pvr-agent from the package"
found=$(cd "$work" && PATH=$root/usr/bin:$PATH bash -c ". '$root/usr/share/bash-completion/completions/pvr'
    COMP_WORDS=(pvr com) COMP_CWORD=1; _pvr_complete; echo \"\${COMPREPLY[*]}\"")
[ "$found" = "commit completion" ] || fail "the completion from the package found: $found"
for page in pvr pvr-agent; do
    gzip -dc "$root/usr/share/man/man1/$page.1.gz" | head -n 1 | grep -q "^\.TH " || fail "the page $page"
done
ok "pvr runs from where it was installed, and completes"
if [ "$(id -u)" = 0 ]; then
    dpkg_there --remove pvr-agent
    left=$(find "$root" -path "$root/var" -prune -o ! -type d -print)
    [ -z "$left" ] || fail "removing it left $left"
    ok "nothing is left when it is removed"
fi
