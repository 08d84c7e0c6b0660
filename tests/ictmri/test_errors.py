"""Foreign text in errors: seen as it is, in its line, and no command to anybody."""

import pickle

import pytest

from ictmri.errors import MAX_PROBLEMS, IctmriError, InputError, visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, Müller 胶质瘤, a\u00a0b", "plain, Müller 胶质瘤, a\u00a0b"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\r\u2028c\x85", r"a\nb\r\u2028c\x85"),
        ("exe.\u202egnp\u2066\u200b\ufeff", r"exe.\u202egnp\u2066\u200b\ufeff"),
        ("\ud800 \U000e0041 \ue000", r"\ud800 \U000e0041 \ue000"),
        ("::error file=x::broken", r"\x3a:error file=x::broken"),
        ("  ::add-mask::x", r"  \x3a:add-mask::x"),
        (
            "a ##[group]b ##vso[task.x]c ##teamcity[d]",
            r"a \x23#[group]b \x23#vso[task.x]c \x23#teamcity[d]",
        ),
        ("std::sort ## title", "std::sort ## title"),
    ],
)
def test_foreign_text_is_shown_and_does_nothing(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(shown) == shown


def test_lines_of_ones_own_stay_lines() -> None:
    assert visible_lines("one\n::two\n\x1bthree") == "one\n\\x3a:two\n\\x1bthree"
    assert str(IctmriError("one\nNext: \x1b")) == "one\nNext: \\x1b"


def test_every_part_of_an_error_is_escaped_and_pickled_as_it_was() -> None:
    error = InputError("a\x1b\n::b", ["c\u202e\n::error::d"], "\x07e")
    assert str(error).splitlines() == [
        r"a\x1b\n::b: 1 problem",
        r"  - c\u202e\n::error::d",
        r"Next: \x07e",
    ]
    again = pickle.loads(pickle.dumps(error))
    assert (again.subject, again.problems, str(again)) == (
        error.subject,
        error.problems,
        str(error),
    )


def test_no_more_problems_are_kept_than_anybody_reads() -> None:
    error = InputError("x", (f"p{n}" for n in range(10**9)))
    assert len(error.problems) == MAX_PROBLEMS
    assert str(error).startswith(f"x: at least {MAX_PROBLEMS} problems\n  - p0\n")
    assert f"and at least {MAX_PROBLEMS - 20} more" in str(error)


def test_long_foreign_text_does_not_flood_a_terminal() -> None:
    assert len(str(InputError("x", ["a" * 10**6] * 20))) < 50_000
