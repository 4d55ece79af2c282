SUMMARY = "pvr-agent as a container of a Pantavisor device"
DESCRIPTION = "The device endpoint on port 12368, with the storage of the device mounted."
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://${COMMON_LICENSE_DIR}/Apache-2.0;md5=89aea4e17d99a7cacdbeed46a0096b10"

inherit image container-pvrexport

IMAGE_BASENAME = "pv-pvr-agent"
IMAGE_FSTYPES = "pvrexportit"

# base-files and base-passwd: the folders that the container's mounts go to, and root's name.
IMAGE_INSTALL += "pvr-agent base-files base-passwd"

# An image fetches nothing of its own; this one has the settings of its container.
do_fetch[noexec] = "0"
do_unpack[noexec] = "0"
# By the name of the container: a plain args.json is passed over as soon as there are roles.
SRC_URI += " \
    file://pv-pvr-agent.args.json \
    file://pv-pvr-agent.config.json \
"

# Beside pvr-sdk, whose place it takes: the network of the host, and the control socket of a manager.
PVR_APP_ADD_GROUP = "platform"
PVR_APP_ADD_ROLES = "mgmt"

# No device nodes of its own.
PVRIMAGE_AUTO_MDEV = "0"

# What pvroot-image waits for. The export itself is deployed by do_image_complete. Newer classes bring this along.
fakeroot do_deploy() {
    :
}
addtask deploy after do_image_complete before do_build
