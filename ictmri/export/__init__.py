"""A cohort in the layouts that other tools read: BIDS, MONAI datalists, nnU-Net, plain NIfTI."""

from __future__ import annotations
