CLASSOVERRIDE = "class-native"
prefix = "${TOPDIR}/sysroot/usr"
