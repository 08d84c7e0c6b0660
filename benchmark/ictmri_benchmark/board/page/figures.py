"""The preprint's Figure 7, drawn from entries of the board: never from numbers that were only reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ictmri_benchmark.board.page.rows import Shown

ABLATION: Final = {
    "table2/1": "① raw volume",
    "table2/2": "② coarse prior",
    "table2/3": "③ coarse prior, channel attention",
    "table2/4": "④ refined prior",
    "table2/5": "⑤ refined prior, channel attention",
}
BACKBONES: Final = {
    "table3/densenet3d": "3D DenseNet",
    "table3/swin3d": "Swin3D",
    "table3/ae_flow": "AE-FLOW",
    "table3/efficient3d": "Efficient3D",
    "table3/swinunetr": "SwinUNETR",
    "table3/vit3d": "ViT3D",
    "table3/convnext3d": "ConvNeXt3D",
}
_FULL: Final = "table2/5"


@dataclass(frozen=True, slots=True)
class Bar:
    """A recipe of a figure: its entry, or the command that makes it."""

    title: str
    entry: Shown | None
    command: str

    @property
    def short(self) -> str:
        """The label under its bars."""
        return self.title.split(" ")[0] if self.title[0] in "①②③④⑤" else self.title


@dataclass(frozen=True, slots=True)
class Figures:
    """Figure 7 (a), (b) and (c); ``matrix`` is the entry whose confusion matrix is shown."""

    ablation: list[Bar]
    backbones: list[Bar]
    matrix: Shown | None
    matrix_is_full: bool


def of_the_paper(board: dict[str, Any], entries: Sequence[Shown]) -> Figures:
    """Return the figures of a board."""
    by_slug = {entry.row["slug"]: entry for entry in entries}
    full = by_slug.get(slug_of(_FULL))
    return Figures(
        ablation=_bars(ABLATION, by_slug, board["cohort"]),
        backbones=_bars(BACKBONES, by_slug, board["cohort"]),
        matrix=full or (entries[0] if entries else None),
        matrix_is_full=full is not None,
    )


def slug_of(recipe: str) -> str:
    """Return the entry's folder name of a recipe."""
    return recipe.replace("/", "-").replace("_", "-")


def _bars(recipes: dict[str, str], by_slug: dict[str, Shown], cohort: str) -> list[Bar]:
    return [
        Bar(
            title,
            by_slug.get(slug_of(recipe)),
            f"ictmri reproduce {recipe} --cohort {cohort} --out out/{slug_of(recipe)}",
        )
        for recipe, title in recipes.items()
    ]
