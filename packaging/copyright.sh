#!/usr/bin/env bash
# The copyright file of the Debian package: this program, and every crate that is linked into it, with its version, its
# licence and the texts that it ships (https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/).
#
#     packaging/copyright.sh >copyright
#
# Which crates these are, Cargo says: those of the default features on this machine, without what only builds or tests. The
# text of the Apache License is not repeated: every Debian has it.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apache=/usr/share/common-licenses/Apache-2.0

# <name> v<version>|<licence>, the program itself among them, and where their sources are.
cargo tree --locked --edges normal,no-proc-macro --prefix none --format '{p}|{l}' |
    sed 's/ (\*)$//; s/ (.*)|/|/' | sort -u >"$work/crates"
host=$(rustc --version --verbose | sed -n 's/^host: //p')
cargo metadata --locked --format-version 1 --filter-platform "$host" |
    grep -o '"manifest_path":"[^"]*"' | sed 's/^[^:]*:"//; s/\/Cargo\.toml"$//' >"$work/places"
own=$(sed -n 's/^name = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# A licence in the words of this format.
short() { sed 's/ OR / or /g; s/ AND / and /g; s/ WITH / with /g; s/\// or /g'; }
# Text within a field: a blank in front, a dot for an empty line.
field() { sed 's/\r$//; s/[[:blank:]]*$//; s/^$/./; s/^/ /'; }
# Whether a text is the Apache License and nothing else.
is_apache() {
    [ "$(wc -l <"$1")" -le 205 ] && ! grep -qi 'llvm' "$1" &&
        [ "$(tr -s '[:space:]' ' ' <"$1" | cut -c 1-41 | sed 's/^ //')" = 'Apache License Version 2.0, January 2004' ]
}

cat <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: $own
Comment: The program is linked from this package and from the crates that follow, each as it is on crates.io.

Files: *
Copyright: the authors of $own
License: Apache-2.0
 On Debian systems the text of this licence is in $apache.
END

while IFS='|' read -r crate licence; do
    name=${crate% v*} version=${crate##* v}
    [ "$name" != "$own" ] || continue
    place=$(grep -m 1 "/$name-$version\$" "$work/places") || { echo "where are the sources of $name $version?" >&2; exit 1; }
    [ -n "$licence" ] || { echo "$name $version names no licence" >&2; exit 1; }
    # Each text once, whatever it is called.
    (cd "$place" && find . -maxdepth 3 -type f ! -name '*.rs' \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'copyright*' \
        -o -iname 'notice*' -o -iname 'unlicense*' \) | sort | xargs -r -d '\n' sha256sum | awk '!seen[$1]++ { print $2 }') >"$work/texts"
    : >"$work/holders" && : >"$work/body"
    while read -r text; do
        if is_apache "$place/$text"; then
            echo "${text#./}: on Debian systems the same text is in $apache." | field
        else
            { echo "${text#./}:"; echo; cat "$place/$text"; echo; } | field
        fi >>"$work/body"
        grep -aiE '^[^[:alpha:]]*copyright[[:blank:]]+(\(c\)|©|[0-9]{4})' "$place/$text" | sed 's/\r$//; s/^[^[:alpha:]]*//; s/[[:blank:]]*$//' >>"$work/holders" || true
    done <"$work/texts"
    [ -s "$work/body" ] || echo 'It ships no text of its licence.' | field >"$work/body"
    [ -s "$work/holders" ] || echo "the authors of $name" >"$work/holders"
    echo
    echo "Files: $name-$version/*"
    echo "Copyright: $(sort -u "$work/holders" | sed '2,$s/^/ /')"
    echo "License: $(short <<<"$licence")"
    # The field ends with its last line.
    sed -e :a -e '/^\( \.\n*\)*$/{$d;N;ba' -e '}' "$work/body"
done <"$work/crates"

cat <<END

Files: rust-$(rustc --version | cut -d ' ' -f 2)/library/*
Copyright: the Rust Project Developers (https://thanks.rust-lang.org), and others
License: Apache-2.0 or MIT
 The standard library of Rust. On Debian systems the text of the first licence is in
 $apache. https://github.com/rust-lang/rust/blob/main/COPYRIGHT names the
 parts that others have written, and their licences. Its tables of characters are data of Unicode, Inc. (Unicode-3.0):
END
unicode=$(rustc --print sysroot)/share/doc/rust/licenses/Unicode-3.0.txt
if [ -r "$unicode" ]; then field <"$unicode"; else echo ' https://www.unicode.org/license.txt has the text of that.'; fi
