"""Every block of docs/loading.md runs as it stands, in order, against a small phantom."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ictmri.build.phantom import build_phantom

PAGE = Path(__file__).parents[3] / "docs" / "loading.md"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def as_script(page: str) -> str:
    """The page with everything but its code blanked: a failure names the line of the page."""
    lines = [""] * (page.count("\n") + 1)
    blocks = list(_BLOCK.finditer(page))
    assert 2 * len(blocks) == page.count("```")
    for block in blocks:
        language, code = block.groups()
        assert language in ("python", "sh"), language
        first = page[: block.start(2)].count("\n")
        for number, line in enumerate(code.splitlines(), start=first):
            lines[number] = line if language == "python" else shell(line)
    return "\n".join(lines)


def shell(line: str) -> str:
    program, *arguments = shlex.split(line)
    assert program == "ictmri"
    command = ["-c", "from ictmri.cli.app import main; main()", *arguments]
    return f"import subprocess, sys; subprocess.run([sys.executable, *{command!r}], check=True)"


@pytest.mark.long
def test_every_block_runs_in_order(tmp_path: Path) -> None:
    # Under the published name, so that the page can be run as a reader runs it.
    build_phantom(tmp_path / "home" / "ictmri-phantom", n_cases=8, spacing=6.0, jobs=1)
    script = as_script(PAGE.read_text())
    (tmp_path / "loading.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "loading.py"],
        cwd=tmp_path,
        env={**os.environ, "ICTMRI_HOME": str(tmp_path / "home"), "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "out" / "monai" / "datalist_fold4.json").is_file()
