CLASSOVERRIDE = "class-nativesdk"
prefix = "/opt/sdk/usr"

addhandler nativesdk_name
nativesdk_name[eventmask] = "bb.event.RecipePreFinalise"
python nativesdk_name() {
    name = e.data.getVar('PN')
    if name.endswith('-nativesdk'):
        e.data.setVar('PN', 'nativesdk-' + name.removesuffix('-nativesdk'))
}
