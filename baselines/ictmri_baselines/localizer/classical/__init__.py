"""The offline detector and the voxel-wise MLP."""
