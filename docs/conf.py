"""How the site is built from the Markdown that lies in the repository: make docs."""

from __future__ import annotations

project = "ictmri"
extensions = ["myst_nb"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "benchmark/*.md", "baselines/*.md"]
exclude_patterns = [".*", "out", "tests", "**/.*"]
html_theme = "furo"
myst_heading_anchors = 4
