"""``ictmri publish``: everything that is checked, shown and done before a cohort leaves the machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ictmri.cohort import Cohort
from ictmri.documents.suppression import K
from ictmri.errors import InputError
from ictmri.io.resources import at_home
from ictmri.release.faces import unsure
from ictmri.release.faces_page import faces_page_path
from ictmri.release.identifier_scan import found_identifiers, identifiers
from ictmri.release.make_release import Order, Release, make_release
from ictmri.verify.cohort import verify_cohort

if TYPE_CHECKING:
    from ictmri.documents.facts import Facts
    from ictmri.documents.subtypes import Subtypes
    from ictmri.release.upload import Uploaded

_SHOWN: Final = 12


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


def publish(prepared: Prepared, order: Order, *, token: str | None = None) -> Uploaded:
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
    return upload(parcel_of(prepared.release.cohort), order, token=token)


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
    yield f"  hunted     {prepared.words} identifiers of the source, none found; allow-list: nothing else"


def _question_lines(prepared: Prepared) -> Iterator[str]:
    unknown = prepared.facts.unknown()
    if unknown:
        yield f"  unknown    {len(unknown)} questions only you can answer (--facts FILE):"
        yield from (f"             {question}" for question in unknown[:_SHOWN])
        if len(unknown) > _SHOWN:
            yield f"             ... and {len(unknown) - _SHOWN} more (ictmri facts prints all)"
