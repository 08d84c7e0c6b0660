"""What is gathered while a source is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from ictmri.build.clinical.columns import Meaning
from ictmri.build.clinical.images import Image
from ictmri.build.clinical.mapping import Mapping
from ictmri.build.clinical.patients import Patient
from ictmri.build.clinical.sheets import Sheet
from ictmri.build.clinical.survey import Survey
from ictmri.build.clinical.understood import Question, Understood


@dataclass(slots=True)
class Facts:
    """What the source says of a patient.

    Attributes:
        label: the class, or the word for leaving the patient out; empty where it is not settled.
        subtype: a name of the list of tumours; empty where unknown.
        age: years; NaN where unknown.
        sex: empty where unknown.
        unlisted: what stands as subtype and is on no list of tumours.
    """

    label: str = ""
    subtype: str = ""
    age: float = math.nan
    sex: str = ""
    unlisted: str = ""


@dataclass(slots=True)
class Reading:
    """A source that is being read.

    Attributes:
        given: what a person said of it.
        found: its files.
        able: images that can be a T1-CE.
        others: all other images.
        sheets: its tables, understood or not.
        classes: classes of words, as a person gave them, by :func:`words.plain` of the word.
        tables: its tables that are about images or tell classes.
        patients: its patients.
        facts: what it says of them, by key.
        masks: names of images that were seen to be masks.
        out: what is understood so far.
    """

    given: Mapping
    found: Survey
    able: list[Image]
    others: list[Image]
    sheets: list[Sheet]
    classes: dict[str, str]
    tables: list[Meaning] = field(default_factory=list)
    patients: list[Patient] = field(default_factory=list)
    facts: dict[str, Facts] = field(default_factory=dict)
    masks: set[str] = field(default_factory=set)
    out: Understood = field(default_factory=Understood)

    def ask(self, place: str, text: str, choices: Iterable[str] = ()) -> None:
        """Note something that is not clear, once."""
        question = Question(place, text, tuple(choices))
        if question not in self.out.questions:
            self.out.questions.append(question)

    def place(self, table: Meaning, column: str) -> str:
        """Return the place of a column in the mapping file."""
        return f"tables[{self.tables.index(table)}].columns.{column}"
