"""Run first_model.py as a notebook, and write first_model.ipynb with what its cells show.

Example: python examples/make_notebook.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

SOURCE = Path(__file__).with_name("first_model.py")


def made() -> Any:
    """Return the notebook, run in a folder of its own, without what progress bars wrote."""
    notebook = jupytext.read(SOURCE)
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, resources=resources, record_timing=False).execute()
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        if cell.cell_type == "code":
            shown = (output for output in cell.outputs if output.get("name") != "stderr")
            cell.outputs = list(shown)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    return notebook


if __name__ == "__main__":
    nbformat.write(made(), SOURCE.with_suffix(".ipynb"))
