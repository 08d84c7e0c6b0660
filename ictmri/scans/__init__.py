"""One scan: read, examined, and what was found."""
