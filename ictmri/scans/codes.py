"""Names of everything that can be found about a scan or a cohort: one table, nothing elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Severity = Literal["error", "warning"]


class Note(NamedTuple):
    """Something found about a scan, before it is known whose scan it is.

    Attributes:
        code: a key of :data:`CODES`.
        text: what was found; holds no name, path or word of the source.
    """

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """What a named finding is.

    Attributes:
        severity: an error keeps the case out of the cohort, a warning does not.
        title: the finding in a few words.
        meaning: what it means for the data.
        next_step: what the owner can do.
    """

    severity: Severity
    title: str
    meaning: str
    next_step: str


_NOTHING: Final = "Nothing, if this is how the scan is meant to be."

CODES: Final[dict[str, Code]] = {
    "unreadable": Code(
        "error",
        "Cannot be read",
        "The file is damaged, or not what its name says.",
        "Export or copy the scan again; open it in a viewer to see whether it is whole.",
    ),
    "truncated": Code(
        "error",
        "Cut off",
        "The file ends before its voxels do, as after a broken download or a full disk.",
        "Copy or export the scan again.",
    ),
    "unknown-format": Code(
        "error",
        "Unknown format",
        "The file is no NIfTI, NRRD, MetaImage or DICOM.",
        "Convert it to .nii.gz, or give the folder of its DICOM files.",
    ),
    "out-of-memory": Code(
        "error",
        "Needs more memory",
        "Reading this scan needs more memory than there is.",
        "Build with --jobs 1, or on a larger machine; look whether the scan is larger than the others.",
    ),
    "too-large": Code(
        "error",
        "Too large",
        "Its header asks for more voxels than a head has, or its folder holds too many files.",
        "Give the folder or file of this one scan; export it again if its header is damaged.",
    ),
    "not-one-volume": Code(
        "error",
        "Not one volume",
        "It is a single slice, a time series, a stack of several volumes, or in colour.",
        "Give one three-dimensional T1-CE volume.",
    ),
    "unsupported-voxels": Code(
        "error",
        "Unusual voxel type",
        "Its voxels are no plain numbers, or numbers that NIfTI readers do not agree on.",
        "Save it as 16-bit integers or 32-bit floats.",
    ),
    "nan": Code(
        "error",
        "NaN or infinite voxels",
        "Some voxels are no numbers; every sum over this scan would be none either.",
        "Find the step that made them; go back to the scan before it.",
    ),
    "constant": Code(
        "error",
        "Empty",
        "Every voxel has the same value.",
        "Export the scan again; a mask or a failed step may have taken its place.",
    ),
    "no-placement": Code(
        "error",
        "No placement in space",
        "Its header does not say where the voxels lie, or says something impossible.",
        "Go back to the DICOM series and convert it again.",
    ),
    "burned-in-text": Code(
        "error",
        "Text in the pixels",
        "The scanner says that words are written into the image; they could be a name.",
        "Give the series as it was acquired, or remove the words and clear BurnedInAnnotation.",
    ),
    "not-a-head": Code(
        "error",
        "Not a head",
        "Its field of view is that of another part of the body, or its voxel sizes are wrong.",
        "Check the voxel sizes in the header (mm), and that this is the right scan.",
    ),
    "duplicate": Code(
        "error",
        "The same volume twice",
        "Another patient of the table has the very same voxels. One label would be in training and in "
        "the test at once, and one of the two may be wrong.",
        "Find out whose scan it is, and correct or remove the other row.",
    ),
    "no-mr-image": Code(
        "error",
        "No MR image in the folder",
        "The folder holds no readable DICOM image of an MR scanner.",
        "Give the folder that holds the series; .dcm files that do not open may be encrypted or cut off.",
    ),
    "before-contrast": Code(
        "error",
        "Acquired before contrast",
        "The series is called, or says of itself, that no contrast was given.",
        "Give the series that was acquired after contrast.",
    ),
    "unclear-series": Code(
        "error",
        "Several series could be the T1-CE",
        "The folder holds a study, and more than one series in it looks like a T1-CE volume.",
        "Put the right series in a folder of its own and give that folder instead.",
    ),
    "no-t1ce-series": Code(
        "error",
        "No series names contrast",
        "The folder holds several series, and none of them says that contrast was given.",
        "Put the T1-CE in a folder of its own and give that folder instead.",
    ),
    "mixed-series": Code(
        "error",
        "Mixed slices",
        "Slices of different size, direction or volume stand in one series.",
        "Separate them, by series or by acquisition, and give one.",
    ),
    "missing-slices": Code(
        "error",
        "Slices are missing",
        "There are gaps between the slices; the volume would be squeezed together.",
        "Export the whole series again.",
    ),
    "sheared-slices": Code(
        "error",
        "Sheared slices",
        "Each slice lies a little beside the one before, as under a tilted gantry. A volume with right "
        "angles cannot hold that, and most tools would straighten it without a word.",
        "Resample it with a tool that knows the place of each slice; or give a scan without tilt.",
    ),
    "uneven-slices": Code(
        "error",
        "Uneven slices",
        "The distances between slices differ too much for one regular volume.",
        "Look for missing slices; otherwise resample the series with a tool that knows its positions.",
    ),
    "near-duplicate-across-folds": Code(
        "warning",
        "Looks like a case of another fold",
        "Two cases show the same head and stand in different folds: the test would know the answer.",
        "Compare the two pictures; remove one row if they are one patient.",
    ),
    "near-duplicate": Code(
        "warning",
        "Looks like another case",
        "Two cases show the same head, up to resampling, noise or scaling: one patient twice, or two "
        "visits of one.",
        "Compare the two pictures; remove one row if they are one patient.",
    ),
    "orientation-wrong": Code(
        "warning",
        "Header and anatomy disagree",
        "The head fits the template much better when it is turned: the header's directions are "
        "probably wrong, left and right perhaps too.",
        "Look at the pictures; convert the DICOM series again if the head is not upright.",
    ),
    "half-a-head": Code(
        "warning",
        "Part of the head is missing",
        "The scan shows much less than a whole head.",
        "Look at the pictures; leave the case out if the tumour may lie in the missing part.",
    ),
    "brain-clipped": Code(
        "warning",
        "Brain cut by the field of view",
        "A part of the brain lies outside the scan.",
        "Look at the pictures; leave the case out if the tumour is cut.",
    ),
    "bitten-brain": Code(
        "warning",
        "Bite out of the brain",
        "Where the brain should be, a piece is set to background: an earlier extraction, defacing or "
        "crop has taken it.",
        "Look at the pictures, go back to the scan before that step if tissue is missing.",
    ),
    "unlike-a-head": Code(
        "warning",
        "Does not look like a head",
        "Its outline does not match that of a head, wherever it is put.",
        "Look at the pictures: wrong body part, wrong voxel sizes, or heavy artefacts?",
    ),
    "not-t1ce": Code(
        "warning",
        "Perhaps no T1",
        "The description of the series is that of another contrast.",
        "Check that this is the T1-CE, and not the T2, FLAIR or diffusion series.",
    ),
    "no-contrast-named": Code(
        "warning",
        "Contrast is not named",
        "Neither a contrast agent nor the name of the series says that contrast was given.",
        "Check that this is the scan after contrast.",
    ),
    "derived-series": Code(
        "warning",
        "Derived series",
        "The images were computed from others: a reformat, projection or subtraction.",
        "Give the original acquisition where there is one.",
    ),
    "orientation-missing": Code(
        "warning",
        "Orientation unknown",
        "The header has no orientation: left and right are a guess.",
        "Convert the DICOM series again with a tool that keeps the orientation.",
    ),
    "orientation-conflict": Code(
        "warning",
        "Two orientations",
        "The qform and the sform of the header put the voxels in different places. The sform is "
        "used here; other readers use the qform.",
        "Find out which is right, and write it into both.",
    ),
    "unit-of-length": Code(
        "warning",
        "Another unit of length",
        "The header gives its lengths in another unit than millimetres, or in one that cannot be. "
        "Here, and in what is written, they are millimetres.",
        "Look whether the head has its size in the pictures; write millimetres into the header.",
    ),
    "series-chosen": Code(
        "warning",
        "Chosen out of a study",
        "The folder holds several series; the one that looks like a T1-CE was taken.",
        "Look at the pictures.",
    ),
    "head-clipped": Code(
        "warning",
        "Head cut at a side",
        "The field of view ends inside the head. The brain itself seems to be whole.",
        _NOTHING,
    ),
    "thick-slices": Code(
        "warning",
        "Thick slices",
        "Slices are thicker than 3 mm: small lesions and registration suffer.",
        "Give the acquisition with the thinnest slices, where there are several.",
    ),
    "anisotropic": Code(
        "warning",
        "Uneven voxels",
        "Voxels are more than three times as long in one direction as in another.",
        "Give the acquisition whose voxels are nearest to cubes, where there are several.",
    ),
    "brain-extracted": Code(
        "warning",
        "Brain already extracted",
        "Most voxels are background: skull and face are gone. Extraction will not be repeated.",
        "Nothing, but mix extracted and whole heads in one cohort only where you must: "
        "a network can tell them apart.",
    ),
    "background-not-zero": Code(
        "warning",
        "Background is not 0",
        "The background is a constant other than 0, as after z-scoring. The steps that follow cope.",
        "Better give the scan before its intensities were changed.",
    ),
    "files-left-aside": Code(
        "warning",
        "Other files in the folder",
        "Files that are no MR image were passed over.",
        "Nothing, if no slice is among them.",
    ),
    "repeated-slices": Code(
        "warning",
        "Slices stood there twice",
        "Exact copies of slices were dropped.",
        "Nothing.",
    ),
    "slightly-uneven-slices": Code(
        "warning",
        "Slightly uneven slices",
        "The distances between slices differ a little; they are taken as equal.",
        "Nothing.",
    ),
    "qform-missing": Code(
        "warning",
        "No qform",
        "The header keeps its orientation in the sform alone; some readers will ignore it.",
        _NOTHING,
    ),
    "cases-left-out": Code(
        "warning",
        "Cases left out",
        "Scans with an error are not in the cohort.",
        "Correct them and build again: the others keep their case ids.",
    ),
    "few-for-folds": Code(
        "warning",
        "Too few cases of a class",
        "A class has no case at all, or fewer cases than there are folds.",
        "Build with fewer folds, or read results of that class with care.",
    ),
    "quick-checks": Code(
        "warning",
        "Checked quickly",
        "Since there are many scans, the placement of the heads was not checked, and only such near "
        "copies were looked for as show the same part of the head in the same position.",
        "Build with --checks full; it takes about a second a scan and core.",
    ),
    "subtype-not-listed": Code(
        "warning",
        "Subtype is on no list",
        "What stands in the column subtype is no name on the list of tumours (WHO 2021), so it is left "
        "empty: any other text could name a person.",
        "Write the tumour as the list does (ictmri/tumours.yaml), or add its name: subtypes in your facts "
        "file, ictmri build folder --facts.",
    ),
    "unknown-metadata": Code(
        "warning",
        "Unknown age, sex or subtype",
        "Folds are balanced, and results told by subgroup, only for what is known.",
        "Fill in the columns of the table where you can.",
    ),
    "mixed-axes": Code(
        "warning",
        "Axes stored in different orders",
        "The orientation of each scan is known and used; only code that ignores it is misled.",
        "Nothing.",
    ),
}
"""Code -> what it is; the worst first, which is the order in which the page tells them."""
