"""The baselines of the benchmark: controls, the reference Virtual Biopsy, and how each is reproduced."""
