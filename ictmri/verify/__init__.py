"""What may be said of a cohort: whole, private, free of leaks."""
