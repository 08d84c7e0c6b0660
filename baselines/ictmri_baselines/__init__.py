"""The baselines of the benchmark: controls, the reference Virtual Biopsy, and how each is reproduced."""

from ictmri.io.resources import name_the_user

name_the_user()
