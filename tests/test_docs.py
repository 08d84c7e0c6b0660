"""What the documents say of this repository is so."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
_TEST = re.compile(r"`(tests/[\w/]+\.py)?::(\w+)`")


def test_every_test_that_the_page_on_robustness_names_is_there() -> None:
    _, tables = (REPOSITORY / "docs" / "robustness.md").read_text("utf-8").split("\n## ", 1)
    file, missing, count = "", [], 0
    for named, test in _TEST.findall(tables):
        file, count = named or file, count + 1
        if f"\ndef {test}(" not in (REPOSITORY / file).read_text("utf-8"):
            missing.append(f"{file}::{test}")
    assert missing == []
    assert count > 150
