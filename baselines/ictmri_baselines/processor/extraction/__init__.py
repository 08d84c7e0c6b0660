"""Brain extraction."""
