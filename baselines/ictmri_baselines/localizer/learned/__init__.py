"""A detector that learns from synthetic heads alone: no patient's image is in its weights."""
