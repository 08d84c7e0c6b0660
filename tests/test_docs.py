"""What the documents say of this repository is so."""

import re
import subprocess
import sys
from pathlib import Path

from ictmri.lookup import find_folds
from ictmri_benchmark.score.predictions import read_predictions

REPOSITORY = Path(__file__).parents[1]
_TEST = re.compile(r"`(tests/[\w/]+\.py)?::(\w+)`")


def test_the_readme_leads_from_a_model_to_a_score(tmp_path: Path) -> None:
    """The block runs as it stands, from an empty folder; what it writes can be submitted."""
    section = (REPOSITORY / "README.md").read_text("utf-8").split("## Submit\n")[1]
    (code,) = re.findall(r"```python\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    value, low, high = map(float, done.stdout.splitlines()[0].split())
    assert 0.2 < low < value < high < 0.9
    assert "first is ahead of second" in done.stdout
    assert read_predictions(tmp_path / "predictions.csv", find_folds("ictmri-phantom")[0])


def test_every_test_that_the_page_on_robustness_names_is_there() -> None:
    _, tables = (REPOSITORY / "docs" / "robustness.md").read_text("utf-8").split("\n## ", 1)
    file, missing, count = "", [], 0
    for named, test in _TEST.findall(tables):
        file, count = named or file, count + 1
        if f"\ndef {test}(" not in (REPOSITORY / file).read_text("utf-8"):
            missing.append(f"{file}::{test}")
    assert missing == []
    assert count > 150
