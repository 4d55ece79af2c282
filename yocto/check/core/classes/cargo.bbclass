# The part of openembedded-core's class that the recipe relies on: where things are built, and with which flags.
CARGO = "cargo"
B = "${WORKDIR}/build"
RUST_HOST_SYS ?= "${PVR_CHECK_HOST}"
CARGO_HOME = "${@os.path.dirname(d.getVar('S'))}/cargo_home"
export CARGO_HOME
CARGO_MANIFEST_PATH ??= "${S}/Cargo.toml"
CARGO_TARGET_SUBDIR = "${RUST_HOST_SYS}/release"
CARGO_BUILD_FLAGS = "-v --frozen --target ${RUST_HOST_SYS} --release --manifest-path=${CARGO_MANIFEST_PATH}"

# Crates come from the folder that the fetcher unpacked them into, and from nowhere else.
cargo_do_compile() {
    printf '[source.bitbake]\ndirectory = "%s/bitbake"\n[source.crates-io]\nreplace-with = "bitbake"\n[build]\ntarget-dir = "%s/target"\n' \
        "${CARGO_HOME}" "${B}" > "${CARGO_HOME}/config.toml"
    "${CARGO}" build ${CARGO_BUILD_FLAGS}
}

EXPORT_FUNCTIONS do_compile
