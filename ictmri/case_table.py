"""``ictmri.cases``: who is in a cohort, as a table; no volume is read or made for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ictmri.cohort import PHANTOM, Cohort, Person
from ictmri.folds import FoldTable
from ictmri.io.resources import AnyPath
from ictmri.lookup import find_folds, local_cohort, phantom_people

if TYPE_CHECKING:
    import pandas as pd

COLUMNS: Final = ("case_id", "label", "fold", "age", "sex", "subtype")
TELLS_THE_CLASS: Final = ("label", "subtype")
"""Columns that a model must not see of the cases that it is tested on."""


def cases(cohort: AnyPath | Cohort | FoldTable) -> pd.DataFrame:
    """Return the cases of a cohort, one row each, in the order of its fold table.

    Args:
        cohort: dataset name, cohort folder, or one that is open already.

    Returns:
        ``case_id``; ``label``, 0 to 3 in the order of :data:`ictmri.CLASSES`, as ``load_dataset`` gives it;
        ``fold``, in which the case is tested; ``age`` in years, NaN where unknown; ``sex`` and ``subtype``,
        missing where unknown. The index counts the cases from 0.

    Raises:
        AccessError: the cohort is neither here nor can it be fetched.
        InputError: no cohort has this name, or its folds were edited.
    """
    import pandas as pd

    table, people = _read(cohort)
    known = [people.get(case_id, Person()) for case_id in table.case_ids]
    return pd.DataFrame(
        {
            "case_id": pd.Series(table.case_ids, dtype="str"),
            "label": pd.Series(table.labels, dtype="int64"),
            "fold": pd.Series(table.folds, dtype="int64"),
            "age": pd.Series([who.age for who in known], dtype="float64"),
            "sex": pd.Series([who.sex for who in known], dtype="str"),
            "subtype": pd.Series([who.subtype or None for who in known], dtype="str"),
        }
    )


def _read(cohort: AnyPath | Cohort | FoldTable) -> tuple[FoldTable, dict[str, Person]]:
    """Return the folds, and by case what is known of age, sex and subtype."""
    if isinstance(cohort, FoldTable):
        return cohort, {}
    if isinstance(cohort, Cohort):
        return cohort.folds(), cohort.people()
    table, _ = find_folds(cohort)
    # What is not published was fetched to find its folds.
    found = local_cohort(cohort)
    if found is not None:
        return table, found.people()
    return table, phantom_people() if str(cohort) == PHANTOM else {}
