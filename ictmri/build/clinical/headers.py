"""What the headers of tables mean, in English and Chinese."""

from __future__ import annotations

import re
from typing import Final, Literal

from ictmri.build.ages import AgeHeader, is_unit_header, read_age_header
from ictmri.build.clinical.filenames import image_kind
from ictmri.build.clinical.words import plain, spaced

Field = Literal["id", "file", "label", "subtype", "age", "age_unit", "sex", "fold", "split"]


_HEADERS: Final[dict[Field, tuple[str, ...]]] = {
    "id": (
        *("id", "caseid", "case", "caseno", "casename", "patientid", "patient", "patientno", "pid"),
        *(
            "subjectid",
            "subject",
            "sub",
            "sid",
            "participantid",
            "participant",
            "sampleid",
            "sample",
        ),
        *("no", "number", "uid", "scanid", "studyid", "imageid", "mrn", "index", "key"),
        *(
            "编号",
            "序号",
            "病例号",
            "病例编号",
            "病例",
            "患者编号",
            "患者id",
            "病人编号",
            "住院号",
            "病历号",
        ),
        *("影像号", "检查号", "样本编号", "受试者编号"),
    ),
    "file": (
        *(
            "file",
            "filename",
            "filepath",
            "path",
            "image",
            "images",
            "imagepath",
            "imagefile",
            "img",
        ),
        *("imagename", "nifti", "niftipath", "niftifile", "scan", "volume", "volumepath", "mri"),
        *("文件", "文件名", "影像文件", "影像", "图像", "路径", "图像路径", "文件路径"),
    ),
    "label": (
        *(
            "label",
            "labels",
            "class",
            "classes",
            "classname",
            "classlabel",
            "labelname",
            "category",
        ),
        *(
            "group",
            "target",
            "y",
            "diagnosis",
            "dx",
            "tumortype",
            "tumourtype",
            "type",
            "diagnosisclass",
        ),
        *("groundtruth", "labelid", "classid", "tumorclass", "tumourclass", "cls"),
        *(
            "类别",
            "分类",
            "标签",
            "诊断",
            "肿瘤类型",
            "类型",
            "诊断类别",
            "大类",
            "诊断分类",
            "肿瘤类别",
        ),
    ),
    "subtype": (
        *(
            "subtype",
            "subtypes",
            "tumorsubtype",
            "tumoursubtype",
            "pathology",
            "pathologicaldiagnosis",
        ),
        *(
            "pathologicaltype",
            "pathologydiagnosis",
            "pathologicalsubtype",
            "histology",
            "histologytype",
        ),
        *(
            "histopathology",
            "histologicaltype",
            "pathologyresult",
            "integrateddiagnosis",
            "subclass",
        ),
        *("病理", "病理诊断", "病理结果", "病理类型", "亚型", "病理亚型", "组织学类型", "整合诊断"),
    ),
    "sex": ("sex", "gender", "patientsex", "性别"),
    "fold": (
        *("fold", "folds", "cvfold", "foldid", "kfold", "cv", "foldno", "foldidx", "foldindex"),
        *("testfold", "foldnumber", "valfold", "折", "折数", "折号", "交叉验证", "交叉验证折"),
    ),
    "split": (
        "split",
        "set",
        "subset",
        "partition",
        "phase",
        "划分",
        "数据划分",
        "数据集划分",
        "数据集",
    ),
}
RUNNING: Final = {"index", "no", "number", "key", "序号"}
"""Headers of ids that may be no more than the number of the row."""
_LOOSE: Final[dict[str, Field]] = {
    **{"sex": "sex", "gender": "sex", "性别": "sex", "fold": "fold"},
    **{"pathology": "subtype", "病理": "subtype", "histology": "subtype", "subtype": "subtype"},
    **{
        "diagnosis": "label",
        "诊断": "label",
        "label": "label",
        "class": "label",
        "filename": "file",
    },
    **{"亚型": "subtype", "编号": "id", "id": "id", "split": "split"},
}
_NEVER: Final = re.compile(
    r"(?<![a-z])(first|last|family|given|patient|full|pat)_?name(?![a-z])|姓名|名字|患者名|病人名"
    r"|phone|mobile|电话|手机|联系|address|住址|地址|籍贯|身份证|证件|email|邮箱|birth|(?<![a-z])dob(?![a-z])"
    r"|出生|生日|geburt|naissance|nacimiento|nascita|(?<![a-z])(yob|jahrgang|ssn)(?![a-z])|vorname|nachname"
    r"|prenom|prénom|apellido|医生|physician|doctor|operator"
)
_GUESS: Final = re.compile(
    r"(?<![a-z])(pred|predicted|prediction|prob|probability|score|logit)(?![a-z])"
)


def read_header(text: str) -> Field | None:
    """Return the meaning of a column by its header, None where it has none for a cohort."""
    if never_read(text) or is_guess(text):
        return None
    about_age = read_age_header(text)
    if about_age or is_unit_header(text):
        return _of_age(about_age)
    bare = re.sub(r"[(（\[].*", "", text)
    joined = plain(bare).replace(" ", "")
    for field, names in _HEADERS.items():
        if joined in names:
            return field
    kind = image_kind(re.sub(r"(?i)labels?", "", bare), ())
    if kind == "mask":
        return None
    if joined.endswith("filename") or kind == "t1ce":
        return "file"
    return "id" if joined.endswith("号") else _by_token(plain(bare).split(), joined)


def _of_age(told: AgeHeader | None) -> Field | None:
    if told is None:
        return "age_unit"
    return "age" if told.meaning in ("age", "scan") else None


def _by_token(words: list[str], joined: str) -> Field | None:
    for token, field in _LOOSE.items():
        if token in words or (not token.isascii() and token in joined):
            return field
    return None


def never_read(text: str) -> bool:
    """Return True for a column of names, addresses, dates of birth: it is passed over unread."""
    return bool(_NEVER.search(spaced(text)))


def is_guess(text: str) -> bool:
    """Return True for a column that holds what some model predicted."""
    return bool(_GUESS.search(spaced(text)))
