do_compile[dirs] = "${B}"

base_do_compile() {
    :
}

base_do_install() {
    :
}

EXPORT_FUNCTIONS do_compile do_install

# One of the tasks has to exist for a recipe to be a recipe.
python () {
    for task in ('do_fetch', 'do_unpack', 'do_compile', 'do_install'):
        d.setVarFlag(task, 'task', '1')
}

# FILESEXTRAPATHS comes before FILESPATH.
python () {
    extra = (d.getVar('FILESEXTRAPATHS') or '').replace('__default:', '')
    d.setVar('FILESPATH', extra + (d.getVar('FILESPATH') or ''))
}
