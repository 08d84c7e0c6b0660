"""What the names of files and folders say: the kind of an image, a part of the data, a fold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from ictmri.build.clinical.words import spaced
from ictmri.scans.contrast import is_t1, read_contrast, without_contrast

Kind = Literal["t1ce", "plain", "processed", "sequence", "mask"]


_MASK: Final = re.compile(
    r"[a-z]*masks?(?![a-z])|(?<![a-z])(segs?|segmentations?|rois?|labels?(tr|ts)?|priors?|refined|coarse"
    r"|bbox(es)?|box(es)?|annotations?|annot|contours?|gt|ground_?truth|heatmaps?|attention|prob"
    r"|probabilit(y|ies))(?![a-z])|掩膜|掩码|标注|分割"
)
_T1CE: Final = re.compile(
    r"t1_?w?_?(ce|c|gd|gad[a-z]*|post[a-z]*|\+_?(c|gd)?|contrast[a-z]*|enh[a-z]*)(?![a-z])"
    r"|(?<![a-z])(ce_(gd|gadolinium)|ce_?t1w?|ce|gd|gad|gadolinium|post|post_?contrast|contrast|enhanced"
    r"|\+c)(?![a-z])|t1增强|增强|强化"
)
_SEQUENCE: Final = re.compile(
    r"(?<![a-z])(t2_?w?(_?(flair|star|fse|tse))?|flair|dwi|adc|swi|dti|pwi|asl|tof|mra|mrs|ct|pet|bold|t1n"
    r"|t1_?(w_?)?pre|pre_?contrast|non_?contrast|pre|b\d{3,4})(?![a-z])|平扫"
)
_PROCESSED: Final = re.compile(
    r"(?<![a-z])(brain|bet|hd_?bet|stripped|skull_?strip[a-z]*|no_?skull|n4[a-z]*|mni(\d+)?|reg"
    r"|registered|registration|warped|norm|normali[sz]ed|pre_?proc[a-z]*|processed|resampled|derivatives"
    r"|template|syn|bfc|cropped)(?![a-z])|预处理|配准"
)
_GENERIC: Final = re.compile(
    r"(?<![a-z])(images?(tr|ts)?|img|mri?|scans?|vol|volumes?|nii|nifti|dicom|dcm|anat|head|data|t1_?w?"
    r"|raw|original|orig|series|ser|study|ses)(?![a-z])"
)
_SPLIT: Final = re.compile(
    r"(train|training|val|valid|validation|test|testing|tr|ts|训练集|验证集|测试集)"
)
_FOLD: Final = re.compile(r"(?:cv|fold|folds|k_?fold|split|第)_?(\d{1,2})(?:_?折)?|(\d)_?fold")


def image_kind(stem: str, folders: Iterable[str]) -> Kind:
    """Return what kind of image a file is by its name and the folders that it lies in.

    A mask and a processed copy may be named by either; of the sequence, the file's own name is believed
    before its folders'.
    """
    folders = list(folders)
    every = [spaced(name) for name in (stem, *folders)]
    if any(_MASK.search(text) for text in every):
        return "mask"
    for name in (stem, *reversed(folders)):
        said, other = read_contrast(name), bool(_SEQUENCE.search(spaced(name)))
        if said == "with" and (is_t1(name) or not other):
            return "processed" if any(_PROCESSED.search(part) for part in every) else "t1ce"
        if said == "without" or other:
            return "sequence"
    return "processed" if any(_PROCESSED.search(text) for text in every) else "plain"


def without_kind(stem: str) -> str:
    """Return what is left of a file's name without the words for its kind: the patient's part of it."""
    text = "_".join(without_contrast(spaced(stem).split("_")))
    for pattern in (_SEQUENCE, _T1CE, _MASK, _PROCESSED, _GENERIC):
        text = re.sub(r"_+", "_", pattern.sub("_", text)).strip("_+")
    return text


def kind_words(text: str) -> tuple[str, ...]:
    """Return the words for a kind of image in a name, in order."""
    left, found = spaced(text), []
    for pattern in (_SEQUENCE, _T1CE, _MASK, _PROCESSED, _GENERIC):
        found += [(match.start(), match[0]) for match in pattern.finditer(left)]
        left = pattern.sub(lambda match: "_" * len(match[0]), left)
    return tuple(word for _, word in sorted(found))


def is_container(folder: str) -> bool:
    """Return True for a folder named after what it holds (images, T1CE, ses-01), not after a patient."""
    if read_split(folder) or read_fold(folder) is not None:
        return True
    numbered = r"(ses|session|run|visit|series|ser|scan|study)_?\w*"
    return not without_kind(folder) or bool(re.fullmatch(numbered, spaced(folder)))


def read_split(text: str) -> str:
    """Return ``train`` or ``test`` for the name of such a part, ``val`` for validation, else nothing."""
    found = _SPLIT.fullmatch(spaced(text))
    if not found:
        return ""
    word = found[1]
    if word.startswith("val") or word == "验证集":
        return "val"
    return "train" if word in ("tr", "训练集") or word.startswith("train") else "test"


def read_fold(text: str) -> int | None:
    """Return the number in a name such as ``fold_3`` or ``第3折``, None where it is none."""
    found = _FOLD.fullmatch(spaced(text))
    return int(found[1] or found[2]) if found else None
