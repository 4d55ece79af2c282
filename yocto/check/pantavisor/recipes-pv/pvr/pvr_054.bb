# Go's pvr, as far as the name of its binary goes.
SUMMARY = "pvr"
LICENSE = "MIT"
BBCLASSEXTEND = "native nativesdk"
