"""A further class is one edit: what derives from the classes follows, the rest is named here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ictmri.classes import CLASSES

REPOSITORY = Path(__file__).parents[2]
SOURCE = (REPOSITORY / "ictmri" / "classes.py").read_text()
EDIT = ('    "rare": "Rare",\n', '    "rare": "Rare",\n    "madeup": "Madeup",\n')
START = """
import sys, types
module = types.ModuleType("ictmri.classes")
exec(compile(sys.argv[1], "ictmri/classes.py", "exec"), module.__dict__)
sys.modules["ictmri.classes"] = module
"""
DERIVED = """
import csv, io, json
from pathlib import Path
import numpy as np, pandas as pd
import ictmri
from ictmri.classes import CLASSES, label_of
from ictmri.documents.croissant import render_croissant
from ictmri.documents.release_files import render_eval
from ictmri.documents.table_one import fold_table, table_one
from ictmri.export.bids import participants_sidecar
from ictmri.folds import FoldRow, read_folds, write_folds
from ictmri.manifest import Manifest
from ictmri.schema import features
from ictmri_benchmark.score.mistakes import PROBABILITIES
from ictmri_benchmark import evaluate

rows = [FoldRow(f"c-{i:04d}", f"c-p{i:04d}", CLASSES[i % len(CLASSES)], i % 2) for i in range(40)]
path = Path(sys.argv[2]) / "folds.csv"
write_folds(path, rows)
cohort = read_folds(path, "made")
predictions = path.with_name("predictions.csv")
lines = [",".join(["case_id", *PROBABILITIES])]
lines += [",".join([r.case_id, *(str(float(r.label == name)) for name in CLASSES)]) for r in rows]
predictions.write_text("\\n".join(lines) + "\\n")
report = evaluate(predictions, cohort, synthetic=True)
people = pd.DataFrame(
    [(r.case_id, r.label, None, "male", 40.0, r.fold) for r in rows],
    columns=["case_id", "label", "subtype", "sex", "age", "fold"],
)
manifest = Manifest("made", "1.0.0", True, {}, 40, 2, cohort.sha256)
croissant = json.loads(render_croissant(manifest))
(enumeration,) = (found for found in croissant["recordSet"] if found["@id"] == "classes")
print(json.dumps({
    "package": list(ictmri.CLASSES),
    "label": [label_of(name) for name in CLASSES],
    "schema": features("default")["label"].names,
    "croissant": [row["classes/name"] for row in enumeration["data"]],
    "eval": render_eval(manifest),
    "table_one": table_one(people).head[1:-1],
    "fold_table": [row[0] for row in fold_table(people).rows],
    "bids": list(participants_sidecar(synthetic=True)["diagnosis"]["Levels"]),
    "predictions": list(PROBABILITIES),
    "per_class": list(report.content["per_class"]),
    "macro_f1": report.content["pooled"]["macro_f1"]["value"],
    "confusion": np.shape(report.content["confusion"]),
}))
"""


def derived(source: str, folder: Path) -> dict[str, object]:
    """What a process whose ``ictmri/classes.py`` is this source derives from it."""
    done = subprocess.run(
        [sys.executable, "-c", START + DERIVED, source, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("source", [SOURCE, SOURCE.replace(*EDIT)], ids=["four", "five"])
def test_everything_that_can_be_derived_follows_from_the_one_table(
    source: str, tmp_path: Path
) -> None:
    names = [*CLASSES, "madeup"] if source != SOURCE else [*CLASSES]
    titles = re.findall(r'^    "\w+": "(\w+)",$', source, flags=re.MULTILINE)
    found = derived(source, tmp_path)
    assert len(titles) == len(names)
    for key in ("package", "schema", "croissant", "bids", "per_class"):
        assert found[key] == names, key
    assert found["label"] == list(range(len(names)))
    assert found["table_one"] == found["fold_table"] == titles
    assert found["predictions"] == [f"p_{name}" for name in names]
    assert found["macro_f1"] == 1.0
    assert found["confusion"] == [len(names)] * 2
    assert f"{'four' if source == SOURCE else 'five'} classes" in str(found["eval"])


def silent_about(classes: list[str]) -> dict[str, list[str]]:
    """What must know every class, since nobody can derive it, and which of them each does not know.

    Whoever adds a class says here who has it in the phantom and what its tumours look like there, and by
    which words the source of the clinical cohort calls it.
    """
    from ictmri.phantom.phenotypes import SUBTYPES
    from ictmri.tumours import tumour_name

    words = yaml.safe_load((REPOSITORY / "ictmri/build/clinical/vocabulary.yaml").read_text())
    subtypes = {
        name: [subtype for subtype, who in SUBTYPES.items() if who.label == name]
        for name in classes
    }
    knows = {
        "ictmri/phantom/phenotypes.yaml": lambda name: bool(subtypes[name]),
        "ictmri/tumours.yaml": lambda name: all(map(tumour_name, subtypes[name] or [name])),
        "ictmri/build/clinical/vocabulary.yaml": lambda name: name in words["classes"],
    }
    return {
        place: unknown
        for place, known in knows.items()
        if (unknown := [name for name in classes if not known(name)])
    }


def test_what_must_know_a_further_class_is_named() -> None:
    assert silent_about([*CLASSES]) == {}
    unknown = silent_about([*CLASSES, "madeup"])
    assert set(unknown) == {
        "ictmri/phantom/phenotypes.yaml",
        "ictmri/tumours.yaml",
        "ictmri/build/clinical/vocabulary.yaml",
    }
    assert all(names == ["madeup"] for names in unknown.values())
