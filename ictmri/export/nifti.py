"""Plain NIfTI: one folder of volumes and one table."""

from __future__ import annotations

from ictmri.classes import CLASSES
from ictmri.export.contents import Case, Contents
from ictmri.export.layout import Layout, folder_of, licence_file, plain_volumes, readme
from ictmri.io.csvfile import csv_text


def layout(contents: Contents) -> Layout:
    """Return the layout: ``images/``, a folder for each further volume, ``cases.csv``."""
    volumes = plain_volumes(contents)
    with_matrix = any(case.scan_from_mni for case in contents.cases)
    header = [
        *("case_id", "patient_id"),
        *(volume.column for volume in volumes),
        *("label", "class", "subtype", "sex", "age", "fold", "synthetic"),
        *(["scan_from_mni"] if with_matrix else []),
    ]

    def cells(case: Case) -> list[object]:
        return [
            *(case.case_id, case.patient_id),
            *(volume.path_of(case) if volume.is_of(case) else "" for volume in volumes),
            *(case.label, case.class_name, case.subtype, case.sex, case.age, case.fold),
            str(contents.synthetic).lower(),
            *([" ".join(map(repr, case.scan_from_mni or ()))] if with_matrix else []),
        ]

    folders = [folder_of(volume.column) for volume in volumes]
    about = readme(contents, "nifti", folders=folders, last_label=len(CLASSES) - 1)
    texts = {"cases.csv": csv_text(header, map(cells, contents.cases)), "README.md": about}
    return Layout(volumes, texts | licence_file(contents))
