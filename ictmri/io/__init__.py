"""Files: read, written, locked and found."""
