"""What the page says about its numbers, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ictmri.classes import CLASS_TITLES

LIMITS = (
    "The models know four classes and choose among them. A brain without a tumour, a metastasis, an "
    "abscess or a scar is given one of the four as well.",
    "Whether this scan was among those that the models learned from is not known to the program; if it "
    "was, the probabilities look better than they are.",
)


def percent(share: float) -> str:
    """Return a probability as a reader should see it; nothing is called certain."""
    if share < 0.005:
        return "< 1 %"
    return "> 99 %" if share > 0.995 else f"{100 * share:.0f} %"


def headline(content: Mapping[str, Any]) -> str:
    """Return the result in one sentence."""
    made = content["diagnosis"]
    name, count = made["class"], len(made["by_model"])
    mean = percent(made["probabilities"][name])
    if count == 1:
        return f"{CLASS_TITLES[name]} is the most probable of the four: {mean}, by one model."
    low, high = percent(made["lowest"][name]), percent(made["highest"][name])
    return (
        f"{CLASS_TITLES[name]} is the most probable of the four: {mean} on average. The {count} models "
        f"give {low} to {high}; {made['models_agreeing']} of {count} put it first."
    )


def calibration(content: Mapping[str, Any]) -> list[str]:
    """Return what is known about the probabilities, one statement each."""
    known = content["calibration"]
    count = len(content["model"]["models"])
    said = [_temperature(known), _out_of_fold(known["out_of_fold"])]
    if count > 1 and known["out_of_fold"] is not None:
        said.append(
            f"Those scores are of one fold’s models at a time. This page averages all {count}; how well "
            "calibrated their average is was not measured."
        )
    return said


def _temperature(known: Mapping[str, Any]) -> str:
    if known["temperature"] == "not fitted":
        return (
            "No temperature was fitted: the probabilities are the networks’ own, which tend to be too sure "
            "of themselves."
        )
    values = known["temperatures"]
    shown = f"{min(values):.2f}" + (f" to {max(values):.2f}" if len(values) > 1 else "")
    which = "Each" if known["temperature"] == "fitted" else "Some"
    return (
        f"{which} model’s probabilities were calibrated by a temperature ({shown}), fitted on training "
        "cases that were held back."
    )


def _out_of_fold(scores: Mapping[str, Any] | None) -> str:
    if scores is None:
        return "How well calibrated the probabilities are is not known: the models have no report."
    kind = ", SYNTHETIC" if scores["synthetic"] else ""
    accuracy = scores["accuracy"]
    text = (
        f"On the {scores['n_cases']} cases of {scores['cohort']}{kind}, each predicted by models that had "
        f"not seen it: accuracy {accuracy['value']:.2f} "
        f"(95 % interval {accuracy['low']:.2f} to {accuracy['high']:.2f})"
    )
    if scores["log_loss"] is None:
        return text + "; its probabilities were not scored."
    alone = scores["class_frequencies_alone"]
    return (
        f"{text}, log-loss {scores['log_loss']:.2f} and Brier score {scores['brier']:.2f}, where the class "
        f"frequencies alone would have {alone['log_loss']:.2f} and {alone['brier']:.2f} (lower is better). "
        f"Probability and frequency differed by {scores['calibration_error']['macro']:.2f} on average."
    )


def out_of_distribution(content: Mapping[str, Any]) -> str:
    """Return how like the training cases the brain is, to the models."""
    found = content["unusual"]
    if found is None:
        return (
            "Whether this scan is like those that the models learned from could not be checked: they keep "
            "no reference of their training cases."
        )
    counts, beyond = found["models"], found["share_of_training_beyond"]
    total = sum(counts.values())
    which = f"To the middle one of the {total} models" if total > 1 else "To the model"
    text = (
        f"{which}, this brain is {found['meaning']} (distance {found['distance']:.1f}, typical "
        f"{found['typical']:.1f}; {percent(beyond) if beyond else 'none'} of the training cases lie as far "
        "out)."
    )
    return f"{text} {counts['usual']} of {total} call it usual." if total > 1 else text
