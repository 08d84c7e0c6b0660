"""``ictmri.cases``: who is in a cohort, as a table; no volume is read or made for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ictmri.classes import SEXES
from ictmri.cohort import PHANTOM, Cohort
from ictmri.folds import FoldTable
from ictmri.io.resources import AnyPath
from ictmri.lookup import find_folds, local_cohort

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
    known = [people.get(case_id, {}) for case_id in table.case_ids]
    return pd.DataFrame(
        {
            "case_id": pd.Series(table.case_ids, dtype="str"),
            "label": pd.Series(table.labels, dtype="int64"),
            "fold": pd.Series(table.folds, dtype="int64"),
            "age": pd.Series([who.get("age") for who in known], dtype="float64"),
            "sex": pd.Series([who.get("sex") for who in known], dtype="str"),
            "subtype": pd.Series([who.get("subtype") or None for who in known], dtype="str"),
        }
    )


def _read(cohort: AnyPath | Cohort | FoldTable) -> tuple[FoldTable, Mapping[str, Any]]:
    """Return the folds, and by case what is known of age, sex and subtype."""
    if isinstance(cohort, FoldTable):
        return cohort, {}
    if isinstance(cohort, Cohort):
        return cohort.folds(), _people(cohort)
    table, _ = find_folds(cohort)
    # What is not published was fetched to find its folds.
    found = local_cohort(cohort)
    if found is not None:
        return table, _people(found)
    return table, _phantom() if str(cohort) == PHANTOM else {}


def _people(cohort: Cohort) -> dict[str, Any]:
    rows = cohort.rows("default", ["case_id", "age", "sex", "subtype"])
    return {
        row["case_id"]: row | {"sex": None if row["sex"] is None else SEXES[row["sex"]]}
        for row in rows
    }


def _phantom() -> dict[str, Any]:
    from ictmri.phantom.roster import roster

    return {
        case.case_id: {"age": case.age, "sex": case.sex, "subtype": case.subtype}
        for case in roster()
    }
