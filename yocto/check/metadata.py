#!/usr/bin/env python3
"""Parses the layer with BitBake's own parser, and carries out what of its tasks needs no build host.

    metadata.py BUILD SERIES CHECKOUT

BUILD is an empty folder to work in, SERIES the release that the layer is parsed for, CHECKOUT this repository. The
classes of openembedded-core and meta-pantavisor are stood in for by the layers beside this file: what those classes do
with the variables of the recipe is not checked here.

Fails at the first thing that isn't so, and says it; else prints how many are. All that BitBake and git have to say goes
to standard error, with each thing that was looked at. Leaves in BUILD/run the
shell of do_compile and do_install for check.sh to carry out.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import types

# The released package leaves out BitBake's client for shared caches of task hashes, which parsing only imports.
for name in ("hashserv", "hashserv.client"):
    sys.modules[name] = types.ModuleType(name)

import bb
import bb.build
import bb.cache
import bb.cookerdata
import bb.data
import bb.event
import bb.fetch
import bb.parse
import bb.utils

HERE = os.path.dirname(os.path.abspath(__file__))
checked = 0


def check(what, holds, found=""):
    global checked
    if not holds:
        sys.exit(f"FAILED: {what}: {found}" if found else f"FAILED: {what}")
    checked += 1
    print(f"ok: {what}", file=sys.stderr, flush=True)


def host():
    """What rustc builds for when nobody says."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return re.search(r"^host: (.*)$", said, re.MULTILINE).group(1)


class Parsed:
    """A build configuration, and what comes out of it."""

    def __init__(self, build, series, checkout, name, local="", pantavisor=False):
        top = os.path.join(build, name)
        os.makedirs(os.path.join(top, "conf"))
        self.layer = os.path.join(checkout, "yocto", "meta-pvr-agent")
        layers = [os.path.join(HERE, "core"), self.layer] + [os.path.join(HERE, "pantavisor")] * pantavisor
        with open(os.path.join(top, "conf", "bblayers.conf"), "w") as file:
            file.write(f'PVR_CHECK_SERIES = "{series}"\nPVR_CHECK_HOST = "{host()}"\n')
            file.write(f'BBPATH = "${{TOPDIR}}"\nBBFILES = ""\nBBLAYERS = "{" ".join(layers)}"\n')
        with open(os.path.join(top, "conf", "local.conf"), "w") as file:
            if series != "scarthgap":
                file.write('UNPACKDIR ??= "${WORKDIR}/sources"\n')
            file.write(local)
        os.chdir(top)
        config = bb.cookerdata.CookerConfiguration()
        config.env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.builder = bb.cookerdata.CookerDataBuilder(config)
        self.builder.parseBaseConfiguration()
        self.files = [
            found for pattern in self.builder.data.getVar("BBFILES").split() for found in sorted(glob.glob(pattern))
        ]

    def recipe(self, name):
        """The variants of the recipe whose file begins with `name`, appends applied."""
        (file,) = [f for f in self.files if os.path.basename(f).startswith(name + "_") and f.endswith(".bb")]
        pattern = [f for f in self.files if f.endswith(".bbappend") and os.path.basename(f).startswith(name + "_%")]
        return self.builder.parseRecipeVariants(file, pattern, layername="pvr-agent")


def words(d, name):
    return (d.getVar(name) or "").split()


def crates(d):
    """What the fetcher makes of the list: file name and checksum of every crate."""
    fetch = bb.fetch.Fetch([uri for uri in words(d, "SRC_URI") if uri.startswith("crate://")], d)
    return {data.parm["downloadfilename"]: data.sha256_expected for data in fetch.ud.values()}


def locked(checkout):
    with open(os.path.join(checkout, "Cargo.lock"), "rb") as file:
        packages = tomllib.load(file)["package"]
    return {f"{p['name']}-{p['version']}.crate": p["checksum"] for p in packages if "source" in p}


def fetch_and_unpack(d, checkout):
    """do_fetch with no network, from cargo's own downloads, and do_unpack."""
    cache = os.path.join(os.environ.get("CARGO_HOME") or os.path.expanduser("~/.cargo"), "registry", "cache")
    downloads = d.getVar("DL_DIR")
    os.makedirs(downloads, exist_ok=True)
    subprocess.run(["cargo", "fetch", "--locked", "--quiet"], cwd=checkout, check=True)
    for name in locked(checkout):
        found, *_ = glob.glob(os.path.join(cache, "*", name)) or [None]
        check(f"cargo has {name}", found) if found is None else shutil.copy(found, downloads)
    bb.fetch.get_hashvalue(d)  # as the signature of do_fetch does: finds the revision
    fetch = bb.fetch.Fetch(words(d, "SRC_URI"), d)
    fetch.download()
    target = d.getVar("UNPACKDIR")
    os.makedirs(target, exist_ok=True)
    fetch.unpack(target)
    return fetch


def write_shell(d, task, path):
    """The shell that BitBake runs for a task."""
    with open(path, "w") as file:
        file.write("#!/bin/sh\nset -e\n")
        bb.data.emit_func(task, file, d)
        file.write(f'mkdir -p "{d.getVar("B")}"\ncd "{d.getVar("B")}"\n{task}\n')


def the_recipe(build, series, checkout, manifest):
    parsed = Parsed(build, series, checkout, "plain")
    check("without meta-pantavisor, its recipes are left alone", not any("dynamic-layers" in f for f in parsed.files))
    variants = parsed.recipe("pvr-agent")
    check(
        "the recipe parses for target, native and nativesdk",
        set(variants) == {"", "native", "nativesdk"},
        str(set(variants)),
    )
    for variant, d in variants.items():
        shown = variant or "target"
        check(f"{shown}: not skipped", d.getVar("__SKIPPED") is None, d.getVar("__SKIPPED"))
        check(
            f"{shown}: version is that of Cargo.toml", d.getVar("PV") == manifest["package"]["version"], d.getVar("PV")
        )
        check(f"{shown}: licence is that of Cargo.toml", d.getVar("LICENSE") == manifest["package"]["license"])
        check(f"{shown}: crates and checksums are those of Cargo.lock", crates(d) == locked(checkout))
        check(
            f"{shown}: nobody is promised a pvr at build time",
            words(d, "PROVIDES") == [d.getVar("PN")],
            d.getVar("PROVIDES"),
        )
        flags = " ".join(words(d, "CARGO_BUILD_FLAGS"))
        profile = "--no-default-features --features device" if variant == "" else ""
        check(f"{shown}: the profile", flags.endswith(f"Cargo.toml {profile}".strip()), flags)
    names = [variants[v].getVar("PN") for v in ("", "native", "nativesdk")]
    check("names", names == ["pvr-agent", "pvr-agent-native", "nativesdk-pvr-agent"], str(names))
    offered = {v: words(d, "ALTERNATIVE:" + d.getVar("PN")) for v, d in variants.items()}
    check("only the target offers names", offered == {"": ["pvr", "pvtx", "pvcontrol", "pvcurl"], "native": [], "nativesdk": []}, str(offered))
    target = variants[""]
    check("the CGI package comes before the main one", words(target, "PACKAGES")[:2] == ["pvr-agent-cgi", "pvr-agent"])

    options = {
        flag
        for flag in target.getVarFlags("PACKAGECONFIG") or {}
        if not flag.startswith("_") and flag not in ("doc", "defaultval")
    }
    features = set(manifest["features"]) - {"default"}
    check(
        "PACKAGECONFIG has the features of Cargo.toml", options == features, f"{sorted(options)} and {sorted(features)}"
    )
    for option in sorted(options):
        local = f'PACKAGECONFIG:append:pn-pvr-agent = " {option}"\n'
        d = Parsed(build, series, checkout, "with-" + option, local).recipe("pvr-agent")[""]
        flags = " ".join(words(d, "CARGO_BUILD_FLAGS"))
        check(
            f"{option} is added to the device profile",
            "--no-default-features --features device" in flags and f"--features {option}" in flags,
        )
    return target, variants


def sources(build, series, checkout, target):
    fetch = fetch_and_unpack(target, checkout)
    check("sources and crates unpack without a network", os.path.isfile(os.path.join(target.getVar("S"), "Cargo.toml")))
    for uri in words(target, "LIC_FILES_CHKSUM"):
        kind, host, path, _, _, parameters = bb.fetch.decodeurl(uri)
        md5 = hashlib.md5(open(os.path.join(target.getVar("S"), host + path), "rb").read()).hexdigest()
        check(f"{path} has the checksum of LIC_FILES_CHKSUM", kind == "file" and md5 == parameters["md5"], md5)
    local = [fetch.localpath(uri) for uri in fetch.urls if uri.startswith("file://")]
    check("the files of the recipe are there", local and all(os.path.isfile(path) for path in local))
    for name, local in {
        "tarball": 'PVR_AGENT_SRC_URI = "https://example.com/pvr-agent-0.1.0.tar.gz;sha256sum=' + "0" * 64 + '"\n',
        "remote": 'PVR_AGENT_SRC_URI = "git://example.com/pvr-agent;protocol=https;branch=main"\nPVR_AGENT_SRCREV = "'
        + "1" * 40
        + '"\n',
    }.items():
        d = Parsed(build, series, checkout, name, local).recipe("pvr-agent")[""]
        skipped = d.getVar("__SKIPPED")
        fetch = bb.fetch.Fetch([words(d, "SRC_URI")[0]], d)
        check(f"PVR_AGENT_SRC_URI can name a {name}", skipped is None and len(fetch.urls) == 1, skipped)


def refusals(build, series, checkout, manifest):
    needed = manifest["package"]["rust-version"]
    for name, local, skipped in (
        ("an old Rust", 'RUSTVERSION = "1.75%"\nPREFERRED_VERSION_cargo-native ?= "${RUSTVERSION}"\n', True),
        ("one just too old", 'RUSTVERSION = "1.94.1%"\n', True),
        ("one just new enough", f'RUSTVERSION = "{needed}.0%"\n', False),
        ("a newer one by preference", 'RUSTVERSION = "1.75%"\nPREFERRED_VERSION_cargo-native = "1.96.1%"\n', False),
        ("no checkout", 'PVR_AGENT_CHECKOUT = "/nonexistent"\n', True),
    ):
        for variant, d in Parsed(build, series, checkout, name.replace(" ", "-"), local).recipe("pvr-agent").items():
            said = d.getVar("__SKIPPED")
            check(
                f"{name}: {variant or 'target'} {'is skipped, with a reason' if skipped else 'is built'}",
                bool(said) == skipped,
                said,
            )


def with_pantavisor(build, series, checkout):
    parsed = Parsed(build, series, checkout, "pantavisor", pantavisor=True)
    (container,) = parsed.recipe("pv-pvr-agent").values()
    check("the container has pvr-agent in it", "pvr-agent" in words(container, "IMAGE_INSTALL"))
    fetch = bb.fetch.Fetch(words(container, "SRC_URI"), container)
    for uri in fetch.urls:
        path = fetch.localpath(uri)
        with open(path) as file:
            json.load(file)
        check(
            f"{os.path.basename(path)} is there, is JSON and has the container's name",
            os.path.basename(path).startswith(container.getVar("PN") + "."),
        )

    priority = {}
    for name in ("pvr", "pvr-agent"):
        for variant, d in parsed.recipe(name).items():
            check(f"{name} parses: {variant or 'target'}", d.getVar("__SKIPPED") is None)
            offered = words(d, "ALTERNATIVE:" + d.getVar("PN"))
            names = (["pvr", "pvtx", "pvcontrol", "pvcurl"] if name == "pvr-agent" else ["pvr"]) if variant == "" else []
            check(f"{name} offers {' and '.join(names) or 'nothing'}", offered == names, str(offered))
            if offered:
                priority[name] = int(d.getVarFlag("ALTERNATIVE_PRIORITY", "pvr"))
    check("Go's pvr comes first", priority["pvr"] > priority["pvr-agent"], str(priority))


def main():
    out = os.dup(1)
    os.dup2(2, 1)
    build, series, checkout = (os.path.abspath(sys.argv[1]), sys.argv[2], os.path.abspath(sys.argv[3]))
    with open(os.path.join(checkout, "Cargo.toml"), "rb") as file:
        manifest = tomllib.load(file)
    target, variants = the_recipe(build, series, checkout, manifest)
    refusals(build, series, checkout, manifest)
    with_pantavisor(build, series, checkout)
    sources(build, series, checkout, target)
    run = os.path.join(build, "run")
    os.makedirs(run)
    for variant, d in variants.items():
        name = variant or "target"
        write_shell(d, "do_install", os.path.join(run, "install-" + name))
        with open(os.path.join(run, "where-" + name), "w") as file:
            file.write(
                "".join(
                    f"{key}={d.getVar(key)}\n"
                    for key in ("D", "B", "bindir", "CARGO_TARGET_SUBDIR", "PVR_AGENT_CGI_DIR")
                )
            )
    write_shell(target, "do_compile", os.path.join(run, "compile-target"))
    os.write(out, f"ok: {checked} things about the metadata\n".encode())


main()
