# Only variables are set for this class: what openembedded-core's does with them is not checked here.
