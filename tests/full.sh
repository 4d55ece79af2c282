#!/usr/bin/env bash
# Everything at full weight: every repetition that was promised, with the figures that the tests print, and the benches.
# Takes a while, wants root (mounts, packages), 20 GB of disk, busybox and pigz; installs nginx and fcgiwrap.
set -euo pipefail
cd "$(dirname "$0")/.."

export CI_RUN=1
export PVR_ROUNDS=100
export CARGO_TERM_COLOR=never

if ! { command -v nginx && command -v fcgiwrap; } >/dev/null 2>&1; then
    apt-get install -q -y --no-install-recommends nginx-light fcgiwrap
fi

printf '== %s, %s cores, %s\n' "$(uname -srm)" "$(nproc)" "$(rustc --version)"
git log -1 --format='== commit %h %s' 2>/dev/null || true
printf '== PVR_ROUNDS=%s\n' "$PVR_ROUNDS"
cargo test -- --nocapture --test-threads 1
for features in device device,tls; do
    printf '== feature set: %s\n' "$features"
    PVR_ROUNDS=1 cargo test --no-default-features --features "$features"
done
printf '== static binaries: all targets, all tests of the program on each\n'
cross/build.sh all
PVR_ROUNDS=1 cross/test.sh all # the processors are emulated: repetitions are for the native run above
printf '== static binaries with TLS: all targets, what takes TLS on each\n'
tls=${CARGO_TARGET_DIR:-target}/cross-tls
FEATURES=device,tls CROSS_OUT=$tls cross/build.sh all
CROSS_OUT=$tls PVR_ROUNDS=1 cross/test.sh --tls all
printf '== the same bytes from another folder\n'
git diff --quiet HEAD || { echo 'commit first: what is built there is what is committed' >&2; exit 1; }
mkdir -p "${CARGO_TARGET_DIR:-target}"
again=$(mktemp -d "$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/again.XXXXXX")
trap 'rm -rf "$again"' EXIT
mkdir "$again/its sources"
git archive HEAD | tar -x -C "$again/its sources"
(cd "$again/its sources" && CARGO_TARGET_DIR=$again/target CROSS_OUT=$again/out cross/build.sh all)
for target in $(. cross/lib.sh && targets); do cmp "cross/out/$target/pvr-agent" "$again/out/$target/pvr-agent"; done
rm -rf "$again"
printf '== what goes onto devices: memory, malformed requests, slow clients, old kernels\n'
cross/memory.sh x86_64-unknown-linux-musl 1024 3072 8192
PVR_AGENT_BIN=$PWD/cross/out/x86_64-unknown-linux-musl/pvr-agent \
    cargo test --test malformed --test slow --test old_kernel -- --nocapture --test-threads 1
printf '== the Debian package\n'
packaging/deb.sh
packaging/check.sh "${CARGO_TARGET_DIR:-target}/release/pvr-agent"
printf '== benches\n'
for bench in endpoint socket cgi status deploy export clone pvtx verity sig; do
    cargo bench --bench "$bench"
done
# Last, because it needs the database of advisories, which is not everywhere to be had.
printf '== licences, sources, duplicates, advisories\n'
PVR_NEED_ADVISORIES=1 .ci/deny
