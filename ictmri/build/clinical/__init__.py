"""The clinical cohort from its source: a repository whose layout nobody has written down."""
