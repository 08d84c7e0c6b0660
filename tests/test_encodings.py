"""Text is UTF-8 whatever the machine's locale: nothing is opened without saying so."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = ("ictmri", "benchmark/ictmri_benchmark", "baselines/ictmri_baselines")
SOURCES = sorted(file for name in PACKAGES for file in (REPOSITORY / name).rglob("*.py"))
TEXT_MODES = {"r", "w", "a", "x", "rt", "wt", "at", "xt", "r+", "w+"}


def in_the_locale(source: str) -> list[int]:
    """Return the lines that read or write text in the encoding of the locale."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [call.lineno for call in calls if _needs_encoding(call)]


def _needs_encoding(call: ast.Call) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    words = {word.arg for word in call.keywords}
    if "encoding" in words:
        return False
    if name == "read_text":
        return not call.args
    if name == "write_text":
        return isinstance(function, ast.Attribute) and len(call.args) == 1
    if name in ("run", "Popen", "check_output"):
        return bool({"text", "universal_newlines"} & words)
    given = {arg.value for arg in call.args if isinstance(arg, ast.Constant)}
    return name == "open" and ("newline" in words or bool(given & TEXT_MODES))


@pytest.mark.parametrize(
    "code",
    [
        *("p.read_text()", "p.write_text(t)", "p.open(newline='')", "open(p, 'w')"),
        "subprocess.run(words, text=True)",
    ],
)
def test_what_depends_on_the_locale_is_seen(code: str) -> None:
    assert in_the_locale(code) == [1]


def test_every_text_is_read_and_written_as_utf_8() -> None:
    assert len(SOURCES) > 200
    found = {
        str(file.relative_to(REPOSITORY)): lines
        for file in SOURCES
        if (lines := in_the_locale(file.read_text(encoding="utf-8")))
    }
    assert found == {}
