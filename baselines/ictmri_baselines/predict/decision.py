"""What may be believed about a scan, decided once, for the terminal, the JSON and the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ictmri.scans.findings import CODES, Finding, Note, has_error
from ictmri_baselines.diagnoser.out_of_distribution import VERDICTS
from ictmri_baselines.localizer import Localization
from ictmri_baselines.localizer.localize import FLAGS
from ictmri_baselines.predict.diagnosis import Diagnosis

State = Literal["not-processed", "refused", "no-lesion", "no-answer", "unlike", "doubtful", "ok"]


@dataclass(frozen=True, slots=True)
class StateMeaning:
    """What a state allows.

    Attributes:
        sentence: the state in words.
        believed: probabilities are given.
        forceable: they are given on request all the same, struck out.
    """

    sentence: str
    believed: bool
    forceable: bool = False


STATES: Final[dict[State, StateMeaning]] = {
    "not-processed": StateMeaning("No step could make anything of this scan", False),
    "refused": StateMeaning("This scan did not pass the quality control", False, forceable=True),
    "no-lesion": StateMeaning("No lesion was found in this scan", False, forceable=True),
    "no-answer": StateMeaning("The models give no probabilities for this scan", False),
    "unlike": StateMeaning("This scan is unlike those that the models learned from", True),
    "doubtful": StateMeaning("There is something to be doubted about this scan", True),
    "ok": StateMeaning("Nothing speaks against the probabilities", True),
}
"""The states, worst first: the first one that holds counts."""
NO_LESION: Final = {"empty", "outside-brain"}
"""Flags of a localisation that marks nothing in the brain."""
OTHER_SETTINGS: Final = "other-settings"
"""Reason of a scan that was not processed as those that the models learned from."""
OTHER_LOCALIZER: Final = "other-localizer"
"""Reason of a scan whose prior is of another detector than those that the models learned from."""
INCOMPLETE: Final = "incomplete-run"
"""Reason where not all models of a run have a say; its scores are of all."""
_OTHERWISE: Final = "the models learned from brains that were processed with other settings"


@dataclass(frozen=True, slots=True)
class Decision:
    """What may be said of a scan.

    Attributes:
        state: a key of :data:`STATES`.
        insisted: the user wants the probabilities in any case.
        reasons: ``code: text``, at least one where the state is not ``ok``.
    """

    state: State
    insisted: bool
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The state in words."""
        return STATES[self.state].sentence

    @property
    def valid(self) -> bool:
        """Whether the probabilities are meant to be believed."""
        return STATES[self.state].believed

    @property
    def forced(self) -> bool:
        """Whether probabilities are given that are not to be believed."""
        return self.insisted and STATES[self.state].forceable

    @property
    def shown(self) -> bool:
        """Whether there are probabilities and a prior."""
        return self.valid or self.forced

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return 0 if self.shown else 1


def decide(
    findings: Sequence[Finding],
    *,
    processed: bool,
    as_for_the_model: bool,
    other_localizer: str = "",
    incomplete: str = "",
    found: Localization | None = None,
    diagnosis: Diagnosis | None = None,
    force: bool = False,
) -> Decision:
    """Decide what is known so far: without a localisation or a diagnosis they are no reason to doubt.

    Args:
        findings: of reading, processing and QC.
        processed: the scan could be.
        as_for_the_model: with the settings that the models' brains were processed with.
        other_localizer: how the models' priors were made otherwise, empty where they were not.
        incomplete: what is missing of the run, empty where nothing is.
        found: the localisation.
        diagnosis: of the models.
        force: see :attr:`Decision.insisted`.
    """
    flags = () if found is None else found.flags
    strange = None if diagnosis is None else diagnosis.middle
    looks = [_said(finding) for finding in findings if finding.severity == "warning"]
    looks += [f"{flag}: {FLAGS[flag]}" for flag in flags]
    if strange is not None and strange.verdict != "usual":
        looks.append(f"{strange.verdict}: the brain is {VERDICTS[strange.verdict]}")
    if not as_for_the_model:
        looks.append(f"{OTHER_SETTINGS}: {_OTHERWISE}")
    if other_localizer:
        looks.append(f"{OTHER_LOCALIZER}: {other_localizer}")
    if incomplete:
        looks.append(f"{INCOMPLETE}: {incomplete}")
    against = [_said(finding) for finding in findings if finding.severity == "error"]
    state: State = "doubtful" if looks else "ok"
    if not processed:
        state, looks = "not-processed", against
    elif has_error(findings):
        state, looks = "refused", against
    elif NO_LESION.intersection(flags):
        state, looks = "no-lesion", [f"{f}: {FLAGS[f]}" for f in flags if f in NO_LESION]
    elif diagnosis is not None and not np.isfinite(diagnosis.each).all():
        state, looks = "no-answer", ["not-finite: what the models give is no number"]
    elif strange is not None and strange.verdict == "unlike":
        state = "unlike"
    return Decision(state, force, tuple(looks))


def _said(finding: Finding) -> str:
    return f"{finding.code}: {finding.text}"


def told(notes: Iterable[Note]) -> list[Finding]:
    """Return notes on a scan as findings: an error counts here as it does in a cohort."""
    found = []
    for note in notes:
        code = CODES[note.code]
        text = f"{note.text}. {code.meaning.rstrip('.')}"
        found.append(Finding("", note.code, code.severity, text, code.next_step))
    return found


def ordered(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings, errors first, each once."""
    unique = dict.fromkeys(findings)
    return tuple(sorted(unique, key=lambda finding: finding.severity != "error"))
