"""The name of an upload as people see it. It is for display only: nothing is stored or opened under it."""

from __future__ import annotations

import unicodedata

LONGEST_NAME = 200
FALLBACK = "Untitled"


def display_name(name: str) -> str:
    """The last part of ``name`` without control, format (such as right-to-left override) and line-breaking
    characters, at most 200 characters with its ending kept; never empty."""
    clean = visible(name.replace("\\", "/").rstrip("/").rpartition("/")[2])
    if not clean.strip("."):
        return FALLBACK
    if len(clean) > LONGEST_NAME:
        stem, dot, ending = clean.rpartition(".")
        ending = dot + ending if stem and len(ending) <= 10 else ""
        clean = clean[: LONGEST_NAME - len(ending) - 1].rstrip() + "…" + ending
    return clean


def visible(text: str) -> str:
    """``text`` in one line, without control, format and line-breaking characters."""
    shown = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text)
    shown = "".join(c for c in shown if unicodedata.category(c) not in {"Cf", "Cs", "Co", "Cn"})
    return " ".join(shown.split())
