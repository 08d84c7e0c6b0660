"""``ictmri publish``: everything that is checked, shown and done before a cohort leaves the machine.

The allow-list of :mod:`ictmri.verify.privacy` says what may be written; here the owner's own identifiers
are looked for in everything that a release holds.
"""

from __future__ import annotations

import gzip
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ictmri.build.pseudonyms import link_path, read_link
from ictmri.classes import CLASSES
from ictmri.cohort import Cohort
from ictmri.documents.facts import Facts
from ictmri.documents.subtypes import Subtypes
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.io.resources import at_home, shipped
from ictmri.release.faces import faces_page_path, unsure
from ictmri.release.make_release import Order, Release, make_release
from ictmri.schema import COLUMNS
from ictmri.verify.cohort import verify_cohort

if TYPE_CHECKING:
    from ictmri.release.upload import Uploaded

SHORTEST: Final = 4
"""Shorter ids (``7``, ``A12``) stand in any text by chance."""
_OWN_TEXTS: Final = ("card.md.j2", "datasheet.md.j2", "facts", "checklists")
_HEADER: Final = 352
"""Bytes of a NIfTI-1 header; among voxels, short words turn up by chance."""
_SHOWN: Final = 12


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
    needles = {word: (word.lower().encode(), word.lower().encode("utf-16-le")) for word in words}
    return [
        f"{place}: holds {word!r} of the source"
        for place, content in _places(cohort)
        for word, forms in needles.items()
        if any(form in content for form in forms)
    ]


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


@dataclass(frozen=True, slots=True)
class Prepared:
    """A release that is ready, and what stands in its way.

    Attributes:
        release: the release.
        facts: what is known about the cohort.
        to_confirm: cases that a person must look at first.
        words: how many of the owner's identifiers were looked for.
        faces_page: pictures of every scan before and after.
    """

    release: Release
    facts: Facts
    to_confirm: list[str]
    words: int
    faces_page: Path


def prepare(cohort: Cohort, order: Order, *, jobs: int | None = None) -> Prepared:
    """Check a cohort, make its release, and check that byte by byte.

    Raises:
        InputError: it may not be published; every reason is named.
    """
    from ictmri.documents.facts import load_facts

    _check_order(cohort, order)
    answers = None if order.facts_file is None else at_home(order.facts_file)
    facts = load_facts(cohort.manifest, answers)
    cohort.check()
    release = make_release(cohort, order, facts, jobs=jobs)
    words = identifiers(cohort)
    _check_release(release, words)
    to_confirm = [] if order.faces_checked else list(unsure(release.faces))
    return Prepared(release, facts, to_confirm, len(words), faces_page_path(cohort.root))


def publish(prepared: Prepared, order: Order) -> Uploaded:
    """Upload a release.

    Raises:
        InputError: something is still to be confirmed, or the version stands there with other data.
        AccessError: the Hub cannot be reached, or this account may not write there.
    """
    from ictmri.release.upload import parcel_of, upload

    if prepared.to_confirm:
        raise InputError(
            "faces",
            prepared.to_confirm,
            "look at these cases; if no face can be recognised, run again with --faces-checked",
        )
    return upload(parcel_of(prepared.release.cohort), order)


def _check_order(cohort: Cohort, order: Order) -> None:
    problems = []
    if cohort.manifest.generator.get("local"):
        problems.append("it was built with --keep-faces, for this machine only")
    if "release" in cohort.manifest.steps:
        problems.append("it is a release already; give the cohort that it was made from")
    problems += repo_id_problems(order.repo_id)
    if problems:
        raise InputError(str(cohort.root), problems, "nothing was written and nothing was sent")


def repo_id_problems(repo_id: str) -> list[str]:
    """Return what is wrong with the name of a repository."""
    named = repo_id.count("/") == 1 and all(repo_id.split("/"))
    return [] if named else [f"--repo-id {repo_id!r} is not ORG/NAME"]


def _check_release(release: Release, words: list[str]) -> None:
    verify_cohort(release.cohort)
    found = found_identifiers(release.cohort, words)
    if found:
        step = "do not pass this folder on; nothing was sent"
        raise InputError(str(release.cohort.root), found, step)


def plan_lines(prepared: Prepared, order: Order) -> Iterator[str]:
    """Yield what would be published, line by line, for the owner to read."""
    cohort, public = prepared.release.cohort, prepared.release.public
    kind = "SYNTHETIC phantom, no patient in it" if cohort.synthetic else "patients"
    yield f"{cohort.name} {cohort.manifest.version} ({kind}): {cohort.manifest.n_cases} cases"
    yield f"  release    {cohort.root}"
    yield f"  to         https://huggingface.co/datasets/{order.repo_id}, tag v{cohort.manifest.version}"
    yield f"  access     {access_words(order)}"
    if not order.gated and not cohort.synthetic:
        yield "             ages are left out: they belong behind a gate"
    files = sorted(cohort.manifest.files.items())
    total = sum(known["bytes"] for _, known in files)
    yield f"  files      {len(files) + 1}, {total / 1e6:.1f} MB"
    yield from (f"             {known['bytes']:>12,}  {name}" for name, known in files)
    yield f"  folds      sha256 {cohort.manifest.folds_sha256}"
    yield from _privacy_lines(prepared)
    if not cohort.synthetic:
        yield (
            f"  public     k = {public.k} over class, sex and age band; {public.widened} wider bands, "
            f"{sum(public.withheld.values())} values withheld (privacy.json)"
        )
        yield from _subtype_lines(prepared.release.subtypes)
    yield from _question_lines(prepared)


def _subtype_lines(subtypes: Subtypes) -> Iterator[str]:
    named = sorted({*subtypes.of_case.values()} - {""})
    yield f"  subtypes   {', '.join(named) or 'none named'}"
    if subtypes.added:
        yield f"             added by you to the list of tumours: {', '.join(subtypes.added)}"
    if subtypes.few:
        yield f"             left empty, fewer than {K} patients share each: {', '.join(subtypes.few)}"
    if subtypes.unlisted:
        yield f"             left empty, on no list of tumours: {subtypes.unlisted} cases"


def access_words(order: Order) -> str:
    """Return who will see a repository, and read its files, in words."""
    gates = {
        "manual": "gated, you let in each person",
        "auto": "gated, everyone who accepts the conditions",
        "none": "not gated",
    }
    seen = "listed for everyone" if order.visible else "private until you make it visible"
    return f"{gates[order.gate]}; {seen}"


def _privacy_lines(prepared: Prepared) -> Iterator[str]:
    cohort, faces = prepared.release.cohort, prepared.release.faces
    if cohort.synthetic:
        yield "  faces      nobody's"
        return
    extracted = sum(done.extracted for done in faces)
    yield (
        f"  faces      {len(faces) - extracted} removed, {extracted} scans had their brain extracted"
    )
    yield from (f"             look at {line}" for line in prepared.to_confirm)
    yield f"             pictures of all, for you alone: {prepared.faces_page}"
    if not prepared.words:
        yield (
            "  hunted     NOTHING: the link file beside the cohort (DIR.link.csv) is not there, or has no "
            f"id or file name of {SHORTEST} characters, so no identifier of the source could be looked for"
        )
        return
    yield f"  hunted     {prepared.words} identifiers of the source, none found; allow-list: nothing else"


def _question_lines(prepared: Prepared) -> Iterator[str]:
    unknown = prepared.facts.unknown()
    if unknown:
        yield f"  unknown    {len(unknown)} questions only you can answer (--facts FILE):"
        yield from (f"             {question}" for question in unknown[:_SHOWN])
        if len(unknown) > _SHOWN:
            yield f"             ... and {len(unknown) - _SHOWN} more (ictmri facts prints all)"
