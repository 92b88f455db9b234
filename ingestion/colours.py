"""Whether an element of HTML has the colour of what is behind it, as far as its own attributes and those above it tell (T33)."""

from __future__ import annotations

import re
from typing import Any, Final

Colour = tuple[int, int, int]

_COLOUR: Final = re.compile(r"(?<![\w-])color\s*:\s*([^;!]+)", re.I)
_BEHIND: Final = re.compile(r"(?<![\w-])background(?:-color|-image)?\s*:\s*([^;!]+)", re.I)
_NAMES: Final[dict[str, Colour]] = {"white": (255, 255, 255), "black": (0, 0, 0), "snow": (255, 250, 250)}
_WHITE: Final = _NAMES["white"]
_SAME: Final = 10
"""Of 255, in each of red, green and blue."""


def colour_of(text: str) -> Colour | None:
    """The colour that ``#fff``, ``#ffffff``, ``FFFFFF``, ``rgb(…)`` or a name says; None for anything else."""
    text = text.strip().lower()
    if text in _NAMES:
        return _NAMES[text]
    if match := re.fullmatch(
        r"rgba?\(\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*(?:,\s*1(?:\.0*)?\s*)?\)", text
    ):
        return int(match[1]), int(match[2]), int(match[3])
    digits = text.removeprefix("#")
    if re.fullmatch(r"[0-9a-f]{3}", digits):
        digits = "".join(2 * digit for digit in digits)
    if not re.fullmatch(r"[0-9a-f]{6}", digits):
        return None
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def alike(one: Colour, other: Colour) -> bool:
    """Whether nobody tells the two apart."""
    return all(abs(a - b) <= _SAME for a, b in zip(one, other, strict=True))


_SEEN_ANYHOW = re.compile(
    r"position\s*:\s*(?:absolute|fixed|sticky)|text-shadow|text-stroke|text-fill", re.IGNORECASE
)
"""What lies upon something that is not above it in the tree, or is drawn in another way."""


def is_as_its_background(element: Any, *, styled: bool) -> bool:
    """Whether all text of ``element`` has the colour of the nearest background that is said above it, or, where none is and
    no style sheet may say one (``styled``), of a white page. What sets colours further down is left to itself."""
    own = _own_colour(element)
    if own is None or any(_sets_a_colour(below) for below in element.iterdescendants()):
        return False
    above: Any = element
    while above is not None:
        style = above.get("style") or ""
        if _SEEN_ANYHOW.search(style):
            return False
        said = _BEHIND.findall(style) or ([above.get("bgcolor")] if above.get("bgcolor") else [])
        if above.get("background") or len(said) > 1:
            return False  # a picture
        if said:
            behind = colour_of(said[0])
            return behind is not None and alike(own, behind)
        above = above.getparent()
    return not styled and alike(own, _WHITE)


def _own_colour(element: Any) -> Colour | None:
    said = _COLOUR.search(element.get("style") or "")
    if said is not None:
        return colour_of(said[1])
    return colour_of(element.get("color") or "") if element.tag == "font" else None


def _sets_a_colour(element: Any) -> bool:
    style = element.get("style") or ""
    return bool(
        _COLOUR.search(style) or _BEHIND.search(style) or element.get("color") or element.get("bgcolor")
    )
