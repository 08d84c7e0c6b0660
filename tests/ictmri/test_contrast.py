"""What names say about contrast, and which series of a study they make the T1-CE."""

from collections.abc import Callable
from itertools import permutations, product

import pytest
from pydicom.dataset import Dataset

from ictmri.builders.clinical.filenames import image_kind, without_kind
from ictmri.builders.contrast import read_agent, read_contrast, words
from ictmri.builders.dicom_series import Series, choose_t1ce
from ictmri.errors import ScanError

WITH = """
T1_Gd | AX T1C | T1CE | T1 MPRAGE mit KM | T1 3D gado | T1 +C | T1+C | T1C+
t1_mprage_sag +C | T1_POST_CONTRAST | T1PostContrast | postcontrast T1 | T1 POST GAD
AX T1 POST | T1 KM | T1 nach KM | T1 nach KM-Gabe | T1 nach Kontrastmittelgabe
T1 mit Kontrastmittel | T1 avec injection | T1 après gado | T1 INJ | T1 con contraste
T1 c/contraste | T1 con mdc | T1 dopo mdc | T1 dopo m.d.c. | T1 com contraste
T1 met contrast | T1 with contrast | T1 w/ contrast | T1 W/C | T1W_CE | T1wCE | t1ce
T1c | t1_c | T1 Gd-DTPA | sub-01_ce-gadolinium_T1w | MPRAGEpost | mpragepostgd
T1 MPR CE | CE T1 | T1-Gd | T1 IV | T1 contrast enhanced | T1增强
AX T1 FS POST WITHOUT MOTION | T1 without fat sat with contrast | T1 ohne FS mit KM
T1+Gd | T1 + GAD | T1 FLAIR +C | T1 Gd+ | AX T1 +C FS | BRAVO +C | SAG 3D T1 C
T1 SE POST | T1_postGAD | T1 enh | T1 postop +C | gadobutrol T1 | T1 despues de contraste
T1 tras contraste | t1_space_sag_KM | T1 iv contrast | T1 C | 3DT1CE | T13DGd | T1 CE 2
t1_ce_2 | T1-weighted post-Gd | T1 contrastado
"""
WITHOUT = """
T1_PRE_CONTRAST | AX T1 NO CONTRAST | precontrast T1 | T1 MPRAGE ohne KM
T1 3D sans gado | T1 UNENHANCED | T1 pre | T1 PRE GAD | T1 non contrast | T1 NON-CONTRAST
T1 noncontrast | T1 NC | T1 w/o contrast | T1 W/O | T1 W/O C | T1 WO | T1 WO CONTRAST
T1 without | T1 without contrast | T1 without iv contrast | T1 nativ | T1 native
T1 sans injection | T1 sans produit de contraste | T1 avant injection | T1 sin contraste
T1 s/contraste | T1 s/c | T1 senza mdc | T1 senza mezzo di contrasto
T1 prima del contrasto | T1 basale | T1 sem contraste | T1 zonder contrast | T1 vor KM
T1 vor Kontrastmittel | T1 kein KM | T1 not enhanced | T1 non-enhanced | T1 nonenhanced
T1 C- | T1C- | T1 -KM | T1 -Gd | T1 平扫 | T1 增强前 | PREContrast T1 | T1PreContrast
T1preGd | t1pre | T1 non injecté | T1 contrast none | T1 contrast: no | T1 no gad
T1 plain | T1 antes de contraste | T1 ohne Kontrast | T1 unenhanced MPRAGE 3D | axt1pre
T1 pre-contrast | T1n | T1 NO C | T1_noGd | T1 ohne | T1 sans
T1 without the contrast agent | T1 prae KM | T1 wo KM
"""
BOTH = """
T1 W WO CONTRAST | T1 W/WO | T1 with and without contrast | T1 pre post | T1 +/- C
T1 avec et sans gado | T1 mit und ohne KM | T1 pre/post | prepost T1 | W AND WO T1
"""
NOTHING = """
T1 mprage | t1_mprage_sag | T1 postop | T1 preop | T1 pre-op | T1 post surgery
phase contrast | AX T1 | T1 W | T1 vor OP | T1 nach OP | T1 C-SPINE | T1 SE 2D
T1 non FS | T1 no fatsat | T1 wo FS | t1_fl3d | face | T1 space | BRAIN | T1 C2 | GBM IV
trace | T1 postprocessed | T/S/C RF FAST PILOT | prescan T1 | MT contrast
"""


def names(table: str) -> list[str]:
    return [name.strip() for line in table.strip().splitlines() for name in line.split(" | ")]


@pytest.mark.parametrize(
    ("table", "said"), [(WITH, "with"), (WITHOUT, "without"), (BOTH, "both"), (NOTHING, "nothing")]
)
def test_names_are_read_as_words_with_negation(table: str, said: str) -> None:
    assert {name: read_contrast(name) for name in names(table)} == dict.fromkeys(names(table), said)


def test_other_languages_do_not_turn_into_their_opposite() -> None:
    table = """
T1 utan kontrast | T1 uden kontrast | T1 uten kontrast | T1 bez kontrastu | T1 без контраста
T1 до контраста | T1 kontrastsız | T1 contrast-free | T1 KM-frei | T1 造影前 | T1 fara contrast
"""
    assert [name for name in names(table) if read_contrast(name) != "without"] == []


@pytest.mark.parametrize("turn", [str.upper, str.lower, str.title])
def test_spelling_in_capitals_says_the_same(turn: Callable[[str], str]) -> None:
    for table, said in ((WITH, "with"), (WITHOUT, "without")):
        for name in names(table):
            assert read_contrast(turn(name)) in (said, "nothing"), turn(name)


def test_a_separator_is_as_good_as_another() -> None:
    for table, said in ((WITH, "with"), (WITHOUT, "without")):
        for name, mark in product(names(table), "_-."):
            if "+" not in name and "/" not in name and "-" not in name:
                assert read_contrast(name.replace(" ", mark)) == said, name.replace(" ", mark)


def test_a_long_name_is_read_at_once() -> None:
    for piece in ("pre", "a", "w/o ", "t1c+", "ce", "no "):
        assert words(piece * 100_000)
        read_contrast(piece * 100_000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        *[
            (text, "with")
            for text in ("Gadovist", "15 ml Dotarem", "CONTRAST", "yes", "GADOBUTROL 1.0")
        ],
        *[
            (text, "without")
            for text in ("NONE", "0", "without", "no contrast", "0 ml", "ohne", "nativ")
        ],
        *[
            (text, "without")
            for text in ("none given", "Gadovist 0 ml", "No", "not given", "0.0 ml")
        ],
        *[(text, "nothing") for text in ("", "-", "N/A", "unknown", "n/a")],
    ],
)
def test_the_field_for_the_agent(text: str, said: str) -> None:
    assert read_agent(text) == said


def series(text: str, **tags: object) -> Series:
    head = Dataset()
    named = {"SeriesDescription": text, "ImageType": ["ORIGINAL", "PRIMARY"], **tags}
    for name, value in named.items():
        setattr(head, name, value)
    return Series(head, slices=160)


HARD = [
    ("T1_Gd", "T1_PRE_CONTRAST"),
    ("AX T1C", "AX T1 NO CONTRAST"),
    ("T1CE", "precontrast T1"),
    ("T1 TSE mit KM", "T1 MPRAGE ohne KM"),
    ("T1 gado", "T1 3D sans gado"),
    ("T1 ENHANCED", "T1 UNENHANCED"),
    ("T1 POST", "T1 PRE"),
    ("SAG T1 +C", "SAG T1"),
    ("AX T1 W/ CONTRAST", "AX T1 W/O CONTRAST"),
    ("T1 dopo mdc", "T1 prima di mdc"),
    ("T1 c/contraste", "T1 s/contraste"),
]


@pytest.mark.parametrize(
    ("right", "wrong"), [*HARD, *zip(names(WITH), names(WITHOUT), strict=False)]
)
def test_the_series_with_contrast_is_chosen(right: str, wrong: str) -> None:
    """The one without is the 3D one, and stands first or last."""
    after, before = series(right), series(wrong, MRAcquisitionType="3D")
    for found in permutations([after, before]):
        chosen, notes = choose_t1ce(list(found))
        assert chosen is after
        assert [note.code for note in notes] == ["series-chosen"]


def test_a_lone_series_is_asked_too() -> None:
    for name in names(WITH):
        assert choose_t1ce([series(name)])[1] == []
    for name in names(WITHOUT):
        with pytest.raises(ScanError) as caught:
            choose_t1ce([series(name)])
        assert caught.value.code == "before-contrast"


def at(text: str, time: str, **tags: object) -> Series:
    made = series(text, **tags)
    made.began = ("20200101", float(time))
    return made


def code_of(*found: Series) -> str:
    with pytest.raises(ScanError) as caught:
        choose_t1ce(list(found))
    assert all(each.text in caught.value.detail for each in found)
    return caught.value.code


def test_what_is_not_clear_is_refused_and_named() -> None:
    assert code_of(series("T1 mprage"), series("T1 mprage")) == "no-t1ce-series"
    assert code_of(series("T1 mprage"), series("T1 pre")) == "no-t1ce-series"
    assert code_of(series("T1 +C"), series("T1 +C")) == "unclear-series"
    assert code_of(series("T1 with and without gad"), series("T1")) == "unclear-series"
    assert code_of(series("T1 +C", ContrastBolusAgent="NONE"), series("T1")) == "unclear-series"
    assert code_of(at("T1 +C", "100"), at("T1 ohne KM", "200")) == "unclear-series"


def test_the_agent_tells_where_names_do_not() -> None:
    after = series("T1 mprage", ContrastBolusAgent="Gadovist")
    none = series("T1 mprage", ContrastBolusAgent="NONE")
    assert choose_t1ce([none, after])[0] is after
    # Scanners carry the agent on: the name knows better.
    pre = series("T1 pre", ContrastBolusAgent="Gadovist")
    assert choose_t1ce([pre, after])[0] is after


def test_the_description_outweighs_the_protocol() -> None:
    protocol = "BRAIN W AND WO CONTRAST"
    after = series("AX T1 POST", ProtocolName=protocol)
    assert choose_t1ce([series("AX T1", ProtocolName=protocol), after])[0] is after
    assert choose_t1ce([series("AX T1", ProtocolName=protocol)])[1][0].code == "no-contrast-named"


@pytest.mark.parametrize("name", ["T1 mprage", "T1 +C"])
def test_what_began_after_the_injection_is_taken(name: str) -> None:
    early, late = at(name, "100"), at(name, "900")
    early.after_injection, late.after_injection = False, True
    for found in ([early, late], [late, early]):
        assert choose_t1ce(found)[0] is late


def test_a_t1_with_dark_fluid_is_a_t1() -> None:
    after = series("AX T1 FLAIR +C")
    assert choose_t1ce([series("AX T2 FLAIR +C"), after])[0] is after


def test_names_of_files_are_read_by_the_same_words() -> None:
    for name in names(WITH):
        assert image_kind(name, ()) in ("t1ce", "processed"), name
    for name in names(WITHOUT):
        assert image_kind(name, ()) == "sequence", name
    assert image_kind("P001_t1_ohne_KM", ("T1CE",)) == "sequence"
    assert image_kind("P001", ("native", "NC")) == "plain"


def test_the_patients_part_of_a_name_holds_no_word_for_contrast() -> None:
    for name in ("P001_T1_mit_KM", "P001_t1_ohne_KM", "P001_T1CE", "P001_T1_sans_gado", "P001_pre"):
        assert without_kind(name) == "p001"
    assert without_kind("Li_Sin") == "li_sin"
