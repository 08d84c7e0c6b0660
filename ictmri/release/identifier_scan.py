"""The owner's own identifiers, looked for in everything that a release holds.

The allow-list of :mod:`ictmri.verify.privacy` says what may be written; this looks for what must not be
there.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ictmri.build.pseudonyms import link_path, read_link
from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.io.resources import shipped
from ictmri.schema import COLUMNS

SHORTEST: Final = 4
"""Shorter ids (``7``, ``A12``) stand in any text by chance."""
_OWN_TEXTS: Final = ("card.md.j2", "datasheet.md.j2", "facts", "checklists")
_HEADER: Final = 352
"""Bytes of a NIfTI-1 header; among voxels, short words turn up by chance."""


def identifiers(cohort: Cohort) -> list[str]:
    """Return the source's ids and file names from the link file beside a cohort, if it is there.

    Left out are file names that several patients share (``image.nii.gz``), and words of our own texts.
    """
    links = read_link(link_path(cohort.root))
    ids = {found.patient_id for found in links}
    images = [Path(found.image).name for found in links]
    names = Counter(name for image in images for name in {image, image.split(".")[0]})
    words = ids | {name for name, count in names.items() if count == 1}
    own = _own_text(cohort)
    return sorted(word for word in words if len(word) >= SHORTEST and word.lower() not in own)


def _own_text(cohort: Cohort) -> str:
    columns = [f"{c.name} {c.kind} {c.meaning}" for every in COLUMNS.values() for c in every]
    places = [shipped(name) for name in _OWN_TEXTS]
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    texts = [file.read_text(encoding="utf-8") for file in files]
    return "\n".join([cohort.name, *CLASSES, *columns, *texts]).lower()


def found_identifiers(cohort: Cohort, words: list[str]) -> list[str]:
    """Return one line for each identifier that stands somewhere in a cohort folder.

    File names, every text file, the columns and the metadata of the data files, and the headers of the
    volumes are searched, whatever the case of the letters, as UTF-8 and as UTF-16.
    """
    needles = {word: _encoded(word) for word in words}
    return [
        f"{place}: holds {word!r} of the source"
        for place, content in _places(cohort)
        for word, forms in needles.items()
        if any(form in content for form in forms)
    ]


def _encoded(word: str) -> tuple[bytes, bytes]:
    return word.lower().encode(), word.lower().encode("utf-16-le")


def _places(cohort: Cohort) -> Iterator[tuple[str, bytes]]:
    import pyarrow.parquet as pq

    for path in sorted(cohort.root.rglob("*")):
        name = path.relative_to(cohort.root).as_posix()
        yield f"file name {name}", name.lower().encode()
        if path.suffix == ".parquet":
            metadata = pq.read_metadata(path).metadata or {}
            yield name, b"\n".join([*metadata, *metadata.values()]).lower()
        elif path.is_file():
            yield name, path.read_bytes().lower()
    for config in cohort.manifest.configs:
        for row in cohort.rows(config):
            where = f"{config}, case {row['case_id']}"
            volumes = [value for value in row.values() if isinstance(value, dict)]
            plain = {key: value for key, value in row.items() if value not in volumes}
            yield where, repr(plain).lower().encode()
            for volume in volumes:
                yield where, _head(volume["bytes"]) + str(volume["path"]).lower().encode()


def _head(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
        return content[:64].lower() + stream.read(_HEADER).lower()
