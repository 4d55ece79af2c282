SUMMARY = "Device endpoint and command line for Pantavisor states"
DESCRIPTION = "Serves a Pantavisor storage on port 12368, where pvr clone and pvr post find it, and is a pvr itself."
SECTION = "console/network"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

inherit cargo systemd update-rc.d update-alternatives

# The checkout around this layer at its HEAD, unless local.conf names another place. The one path for all releases:
# where the default S points.
PVR_AGENT_SRC_URI ?= "git://${PVR_AGENT_CHECKOUT};protocol=file;usehead=1"
PVR_AGENT_SRCREV ?= "${AUTOREV}"
SRCREV = "${PVR_AGENT_SRCREV}"
SRC_URI = " \
    ${PVR_AGENT_SRC_URI};destsuffix=${BP} \
    file://pvr-agent.default \
    file://pvr-agent.init \
    file://pvr-agent.service \
"
# Every crate of Cargo.lock, so that nothing is fetched while it compiles.
require pvr-agent-crates.inc

# Scarthgap unpacks into the work folder, and has no name for that.
UNPACKDIR ??= "${WORKDIR}"

# What goes onto a device is the small profile. A workstation and a factory line get everything.
PACKAGECONFIG ??= "device"
PACKAGECONFIG:class-native ??= ""
PACKAGECONFIG:class-nativesdk ??= ""
# Each is a feature of Cargo.toml. No arguments here: some releases hand them to cargo by themselves, others don't.
PACKAGECONFIG[device] = ""
PACKAGECONFIG[tls] = ""
PACKAGECONFIG[man] = ""
PVR_AGENT_DEFAULTS = "${@bb.utils.contains('PACKAGECONFIG', 'device', '--no-default-features', '', d)}"
PVR_AGENT_FEATURES = "${@' '.join('--features ' + name for name in (d.getVar('PACKAGECONFIG') or '').split())}"
CARGO_BUILD_FLAGS:append = " ${PVR_AGENT_DEFAULTS} ${PVR_AGENT_FEATURES}"

# Stripped by the packaging, which keeps the symbols in the -dbg package.
export CARGO_PROFILE_RELEASE_STRIP = "none"

# Where the storage is mounted, and where the web server of the image looks for CGIs.
PVR_AGENT_STORAGE ?= "/storage"
PVR_AGENT_CGI_DIR ?= "${servicedir}/www/cgi-bin"

INITSCRIPT_NAME = "pvr-agent"
INITSCRIPT_PARAMS = "defaults 90 10"
SYSTEMD_SERVICE:${PN} = "pvr-agent.service"

do_install() {
    install -d ${D}${bindir}
    install -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/pvr-agent ${D}${bindir}/pvr-agent
}

do_install:append:class-target() {
    install -d ${D}${sysconfdir}/init.d ${D}${sysconfdir}/default ${D}${systemd_system_unitdir} ${D}${PVR_AGENT_CGI_DIR}
    install -m 0755 ${UNPACKDIR}/pvr-agent.init ${D}${sysconfdir}/init.d/pvr-agent
    install -m 0644 ${UNPACKDIR}/pvr-agent.default ${D}${sysconfdir}/default/pvr-agent
    install -m 0644 ${UNPACKDIR}/pvr-agent.service ${D}${systemd_system_unitdir}/pvr-agent.service
    sed -i -e 's,@BINDIR@,${bindir},g' -e 's,@SYSCONFDIR@,${sysconfdir},g' -e 's,@STORAGE@,${PVR_AGENT_STORAGE},g' \
        ${D}${sysconfdir}/init.d/pvr-agent ${D}${sysconfdir}/default/pvr-agent \
        ${D}${systemd_system_unitdir}/pvr-agent.service

    # A web server adds arguments of its own: they come after the word cgi.
    # What it has to answer, its name says. busybox httpd asks index.cgi for paths that end with a slash, as today's client does.
    for name in pvr pvtx logs openapi.json .pvrremote index.cgi; do
        printf '#!%s/pvr-agent cgi\n' ${bindir} > ${D}${PVR_AGENT_CGI_DIR}/$name
        chmod 0755 ${D}${PVR_AGENT_CGI_DIR}/$name
    done
}

PACKAGE_BEFORE_PN = "${PN}-cgi"
SUMMARY:${PN}-cgi = "${SUMMARY}: the CGI for a web server"
FILES:${PN}-cgi = "${PVR_AGENT_CGI_DIR}/pvr ${PVR_AGENT_CGI_DIR}/pvtx ${PVR_AGENT_CGI_DIR}/logs ${PVR_AGENT_CGI_DIR}/openapi.json \
    ${PVR_AGENT_CGI_DIR}/.pvrremote ${PVR_AGENT_CGI_DIR}/index.cgi"
RDEPENDS:${PN}-cgi = "${PN}"

CONFFILES:${PN} = "${sysconfdir}/default/pvr-agent"

# The names that the binary answers to. Go's pvr comes first where both are installed: it has commands that are missing
# here.
ALTERNATIVE:${PN}:class-target = "pvr pvtx pvcontrol pvcurl"
ALTERNATIVE_LINK_NAME[pvr] = "${bindir}/pvr"
ALTERNATIVE_TARGET[pvr] = "${bindir}/pvr-agent"
ALTERNATIVE_PRIORITY[pvr] = "50"
ALTERNATIVE_LINK_NAME[pvtx] = "${bindir}/pvtx"
ALTERNATIVE_TARGET[pvtx] = "${bindir}/pvr-agent"
ALTERNATIVE_PRIORITY[pvtx] = "50"
ALTERNATIVE_LINK_NAME[pvcontrol] = "${bindir}/pvcontrol"
ALTERNATIVE_TARGET[pvcontrol] = "${bindir}/pvr-agent"
ALTERNATIVE_PRIORITY[pvcontrol] = "50"
ALTERNATIVE_LINK_NAME[pvcurl] = "${bindir}/pvcurl"
ALTERNATIVE_TARGET[pvcurl] = "${bindir}/pvr-agent"
ALTERNATIVE_PRIORITY[pvcurl] = "50"

BBCLASSEXTEND = "native nativesdk"

# What would fail later, and less clearly.
python () {
    if 'PVR_AGENT_CHECKOUT' in (d.getVar('PVR_AGENT_SRC_URI', False) or '') and not d.getVar('EXTERNALSRC'):
        checkout = d.getVar('PVR_AGENT_CHECKOUT') or ''
        if not os.path.exists(os.path.join(checkout, '.git')):
            raise bb.parse.SkipRecipe("'%s' is no git checkout of pvr-agent: set PVR_AGENT_SRC_URI" % checkout)

    needed = (1, 95)
    named = d.getVar('PREFERRED_VERSION_cargo-native') or d.getVar('RUSTVERSION') or ''
    numbers = named.rstrip('%').split('.')[:2]
    if len(numbers) == 2 and all(number.isdigit() for number in numbers):
        if tuple(int(number) for number in numbers) < needed:
            raise bb.parse.SkipRecipe('it needs Rust %d.%d or newer, and this build has %s: '
                                      'see README.md of meta-pvr-agent for the layer to add' % (*needed, named))
}
