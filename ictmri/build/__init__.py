"""Builders of cohort folders: from nothing (the phantom) and from a table of scans."""
