# Go's pvr installs its binary as /usr/bin/pvr. As an alternative it can share that name with pvr-agent, and it comes first.
inherit update-alternatives

ALTERNATIVE:${PN}:class-target = "pvr"
ALTERNATIVE_LINK_NAME[pvr] = "${bindir}/pvr"
ALTERNATIVE_PRIORITY[pvr] = "100"
