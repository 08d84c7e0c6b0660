"""Plain NIfTI: one folder of volumes and one table."""

from __future__ import annotations

from ictmri.export.layout import Layout, folder_of, plain_volumes
from ictmri.export.readme import documents, readme
from ictmri.export.source import Case, Source
from ictmri.io.csvfile import csv_text

_ABOUT = """\
- `cases.csv`: one row a case. `label` is 0..3, `class` its name; `sex`, `age` (years) and `subtype` are
  empty where unknown; `synthetic` is true for a generated phantom. Paths are relative to this folder.
{folders}

```python
import csv
import nibabel

with open("cases.csv", newline="") as file:
    cases = list(csv.DictReader(file))
image = nibabel.load(cases[0]["image"])
```"""


def layout(source: Source) -> Layout:
    """Return the layout: ``images/``, a folder for each further volume, ``cases.csv``."""
    volumes = plain_volumes(source)
    paths = [(volume.config, volume.column, volume.path_of) for volume in volumes]
    with_matrix = any(case.scan_from_mni for case in source.cases)
    header = [
        *("case_id", "patient_id"),
        *(column for _, column, _ in paths),
        *("label", "class", "subtype", "sex", "age", "fold", "synthetic"),
        *(["scan_from_mni"] if with_matrix else []),
    ]

    def cells(case: Case) -> list[object]:
        return [
            *(case.case_id, case.patient_id),
            *(path(case) if (c, name) in case.volumes else "" for c, name, path in paths),
            *(case.label, case.class_name, case.subtype, case.sex, case.age, case.fold),
            str(source.synthetic).lower(),
            *([" ".join(map(repr, case.scan_from_mni or ()))] if with_matrix else []),
        ]

    folders = "\n".join(f"- `{folder_of(name)}/<case_id>.nii.gz`" for _, name, _ in paths)
    return Layout(
        volumes,
        {
            "cases.csv": csv_text(header, map(cells, source.cases)),
            "README.md": readme(source, _ABOUT.format(folders=folders)),
            **documents(source),
        },
    )
