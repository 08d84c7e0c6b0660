"""What names say about contrast, and which series of a study they make the T1-CE."""

from collections.abc import Callable
from itertools import permutations, product

import pytest
from pydicom.dataset import Dataset

from ictmri.build.clinical.vocabulary import image_kind
from ictmri.errors import ScanError
from ictmri.scans.contrast import read_agent, read_contrast, words
from ictmri.scans.dicom_series import Series, choose_t1ce

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
t1_mprage_sag_p2_iso_KM | t1_se_tra_KM | T1W_3D_TFE_CE | sT1W_3D_TFE_GD | T1W_TSE_gado
AX T1 FSE POST GAD | Ax T1 SE +Gad | SAG BRAVO POST | Ax FSPGR 3D Post Gd | 3D T1 MPRAGE POST-CONTRAST
T1 MPRAGE +KM | t1_fl3d_tra_post | MPRAGE_SAG_GD | T1_MPR_TRA_iso1.0_CE | T1+CE | T1 FFE 3D CE
THRIVE post gd | AX T1 POST IV | AX T1 WITH | T1W+C | T1 +GAD FS | T1 axial con civ | T1 EG 3D GADO
T1 3D GADO | AXIAL T1 INJECTEE | T1 APRES INJECTION | T1 après injection de gadolinium
T1 POSTCONTRASTE | T1 tras gadolinio | T1 con gadolinio | T1 dopo contrasto | T1 3D MdC
T1 dopo mezzo di contrasto | T1 MPRAGE axial mit Kontrast | T1w post contrast | T1Gad | T1GAD | T1-CE
T1_CE_MPRAGE | MPRAGE T1CE | t1ce_sag | SAG_T1_C+ | Ax T1 c+ | AX T1 (C+) | T1 C + FS
3D SAG T1 CUBE+C | AX 3D T1 POST STEALTH | T1 BRAVO GAD NAVIGATION | t1_vibe_fs_tra_post_contrast
POST GAD T1 SPACE | POSTGAD_T1_SPACE | Brain T1 Gd+ 1mm | t1_tse_dark-fluid_tra_KM
AX T1 POST-GAD FLAIR | T1 3D TFE Gd DOTA | T1 post Gadavist | T1 post-gadobutrol | T1 with Dotarem
eT1W_3D GADOVIST | T1 WITH IV CONTRAST | T1w contrast-enhanced | CE-MPRAGE | MPRAGE CE | ce_t1_mprage
cet1 | t1c_mprage | T1post_gd | T1_postGd_3D | T1WCE | t1-km | T1 (KM) | T1 p.c.
T1 post i.v. contrast | T1 POST C | T1 nach i.v. KM | T1 m. KM | T1 mKM | t1 +k | T1 p.KM
CONTRAST T1 | t1_gd_iso | T1 GdDTPA | T1 +GdDOTA | T1 Post-Contrast 3D | T1_Post | T1POST
AX T1 FATSAT GADO | T1FSGAD | T1FS+C | COR T1 FS C | T1 contraste 3D | AX T1 GD FS NO GAP
t1 post no fs
T1W_3D_TFE_SENSE_GD | T1 SENSE GD | C+ T1W_TFE SENSE | T1 POST SPIR SENSE | AX T1 POST SPACE | T1 PostC
cT1 | T1 GBCA
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
AX T1 PRE GAD | AX T1 W/O GAD | AX T1 WO GAD | AX T1 NO GAD | AX T1 NON GAD | T1 NON GADO
T1 SANS INJ | T1 SANS IV | AX T1 WITHOUT IV CON | AX T1 W/O CON | AX T1 WO CON | T1 w/o KM
t1_mprage_nativ | T1 nativ 3D | MPRAGE nativ | T1 TSE native | T1 pre-Gd | preT1 | PRE T1
PRE_T1_MPRAGE | T1_pre | T1PRE | t1_pre_contrast_sag | T1 sin gadolinio | T1 sin gado | T1 SIN CIV
T1 senza contrasto | T1 s.m.d.c. | T1 basale 3D | T1 avant gado | T1 avant injection de gado
T1 vor Gd | T1 vor i.v. KM | T1 ohne Gd | T1 ohne Kontrastmittel | T1 unkontrastiert | T1 ohne i.v. KM
T1 o. KM | T1 oKM | T1 KM - | T1 (ohne) | T1 non-enhanced | T1 non enh | T1 unenh | AX T1 NONCON
AX T1 NON CON | AX T1 NON-CON | AX T1 non-c | T1 no contrast given | T1 noncontrast
T1 Without Contrast | T1 plain | Plain T1 | T1 native (no contrast) | AX T1 PRECON | T1 precon
pre-con T1 | AX T1 PRE CON | T1 minus contrast | T1 minus gad | T1 -C | T1 -contrast | T1 C neg
T1 Gd neg | T1 before contrast | T1 prior to contrast | T1 prior to gad
T1 antes del contraste | T1 s/gd | T1 sem gadolínio | T1 pré contraste | T1 prima mdc | T1 pre mdc
T1 preinjection | T1 pre-injection | T1 pre injection | T1 pre i.v.
T1 sense contrast | AX T1 PRE SPACE | T1 nat | T1 blanco | T1 PreC | T1_woC | T1 NoC | -C AX T1
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
T1W_3D_TFE SENSE | T1 native space | CT1
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
T1 0 gad | T1 utan kontrast | T1 uden kontrast | T1 uten kontrast | T1 bez kontrastu | T1 без контраста
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
            if not set("+/-.") & set(name):
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
    made.began = (1, float(time))
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
        # "prior" is a word for a mask.
        assert image_kind(name, ()) in ("sequence", "mask"), name
    assert image_kind("P001_t1_ohne_KM", ("T1CE",)) == "sequence"
    assert image_kind("P001", ("native", "NC")) == "plain"
