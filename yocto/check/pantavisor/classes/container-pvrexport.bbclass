# The settings that meta-pantavisor's class of this name takes from a container recipe.
PVR_APP_ADD_EXTRA_ARGS ??= "  --volume ovl:/var:permanent"
PVR_APP_ADD_GROUP ??= "root"
PVR_APP_ADD_ROLES ??= ""
PVRIMAGE_AUTO_MDEV ??= "1"
