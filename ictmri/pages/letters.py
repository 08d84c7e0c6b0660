"""Which way round a picture of a head lies: the radiological convention, said by letters at its edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from PIL import Image

PLANES: Final = ((2, "RLAP"), (1, "RLSI"), (0, "APSI"))
"""Axis that is cut (right, anterior, superior); letters at the left, right, upper and lower edge."""
LETTERS: Final = (
    "Radiological convention: the patient’s right (R) is on the left of the picture; L left, A front, "
    "P back, S top, I bottom"
)
"""The legend of every picture."""
_SIZE: Final = 14
_INK: Final = (255, 214, 102)


def letter(picture: Image.Image, letters: str, doubt: str = "") -> None:
    """Write letters of :data:`PLANES` at the edges of a picture.

    Args:
        picture: RGB; changed in place.
        letters: of the left, right, upper and lower edge.
        doubt: follows R and L where left and right are a guess.
    """
    from PIL import ImageDraw, ImageFont

    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(_SIZE)
    width, height = picture.size
    places = [(4, height / 2), (width - 4, height / 2), (width / 2, 4), (width / 2, height - 4)]
    for name, place, anchor in zip(letters, places, ("lm", "rm", "ma", "md"), strict=True):
        text = name + (doubt if name in "RL" else "")
        draw.text(place, text, _INK, font, anchor, stroke_width=2, stroke_fill=(0, 0, 0))
