"""What a layout is: where each volume goes, and the documents around the volumes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ictmri.classes import CLASSES
from ictmri.export.contents import LICENCE, Case, Contents
from ictmri.pages.templating import document
from ictmri.schema import CONFIG_TITLES, Config
from ictmri.version import __version__

_README: Final = Path(__file__).parent / "templates" / "readme.md.j2"


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """Where the volumes of one column go.

    Attributes:
        config: the config.
        column: its volume column.
        path: a case's path in the export, with ``{case_id}`` or ``{subject}`` in it.
        convert: gives the bytes to write for those that are stored, see
            :func:`ictmri.export.convert.portable`; None writes them as they are.
    """

    config: Config
    column: str
    path: str
    convert: Callable[[bytes], bytes] | None = None

    def path_of(self, case: Case) -> str:
        """Return the path of a case's volume in the export."""
        return self.path.format(case_id=case.case_id, subject=case.subject)

    def is_of(self, case: Case) -> bool:
        """Return True where a case has this volume."""
        return (self.config, self.column) in case.volumes


@dataclass(frozen=True, slots=True)
class Layout:
    """All files of an export.

    Attributes:
        volumes: the volumes.
        documents: the text of every other file, by path in the export.
    """

    volumes: Sequence[VolumeFile]
    documents: dict[str, str]


def readme(contents: Contents, to: str, *, volumes: str = "", **words: Any) -> str:
    """Return the README's Markdown: what it is, how private, under which licence, which folds.

    Args:
        contents: what is exported.
        to: the layout, whose template says what stands where, and how to use it.
        volumes: what differs from the volumes that the cohort stores; nothing where empty.
        words: what the layout's template shows.
    """
    manifest = contents.cohort.manifest
    classes = Counter(case.class_name for case in contents.cases)
    folds = Counter(case.fold for case in contents.cases)
    steps = manifest.steps if "processed" in contents.configs else {}
    return document(_README).render(
        title=contents.title,
        synthetic=contents.synthetic,
        manifest=manifest,
        n_cases=len(contents.cases),
        classes=", ".join(f"{name} {classes[name]}" for name in CLASSES),
        configs={config: CONFIG_TITLES[config] for config in contents.configs},
        folds=", ".join(f"fold {fold}: {count}" for fold, count in sorted(folds.items())),
        folds_sha256=contents.folds.sha256,
        licence=contents.licence,
        origin=json.dumps(manifest.generator | steps, indent=1),
        ictmri=__version__,
        to=to,
        volumes=volumes,
        **words,
    )


def licence_file(contents: Contents) -> dict[str, str]:
    """Return the text of the licence that every export takes over from the cohort, if it has one."""
    return {LICENCE: contents.licence_text} if contents.licence_text else {}
