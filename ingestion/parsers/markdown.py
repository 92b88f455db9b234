"""Markdown: the text kept as it is, its headings found outside of code, front matter read for the facts."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from ingestion.formats import Format
from ingestion.guards import Limits
from ingestion.parsed import Heading, ParsedDocument, ParsedPage
from ingestion.parsers.text import read_text
from ingestion.text import one_line

MARKDOWN = "text/markdown"
_MARKS = re.compile(  # asked of the beginning of any upload: each line is looked at once, and each place of it within bounds
    r"^(?:#{1,6} \S|```|[ \t]*+[-*] \[[ x]\] |\[[^\]\n]{1,200}\]: \S|[^\[\n]{0,300}\[[^\]\n]{1,200}\]\([^\s()]{1,500}\))",
    re.M,
)
_ATX = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FRONT = re.compile(r"\A---\n(.*?)\n(---|\.\.\.)\n", re.S)


def _holds_marks(text: str, extension: str) -> bool:
    return len(_MARKS.findall(text)) >= 2


FORMAT = Format(
    media_type=MARKDOWN,
    name="Markdown",
    extensions=("md", "markdown", "mdown"),
    text=True,
    signs=((30, _holds_marks),),
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    text = read_text(path, limits)
    facts: dict[str, str] = {}
    body = 0
    if front := _FRONT.match(text):
        body = front.end()
        for line in front[1].splitlines():
            name, colon, value = line.partition(":")
            if colon:
                facts[name.strip().lower()] = value.strip().strip("\"'")
    headings = tuple(_headings(text, body))
    title = facts.get("title") or next((heading.text for heading in headings if heading.level == 1), "")
    try:
        created = date.fromisoformat(facts.get("date", "")[:10])
    except ValueError:
        created = None
    page = ParsedPage(1, text, headings)
    return ParsedDocument(MARKDOWN, (page,), title, facts.get("author", ""), created, facts.get("lang", ""))


def _headings(text: str, position: int) -> list[Heading]:
    found: list[Heading] = []
    fence = ""
    previous, previous_start = "", position
    for line in text[position:].splitlines(keepends=True):
        bare = line.rstrip("\n")
        mark = _FENCE.match(bare)
        if fence:
            if mark and mark[1].startswith(fence) and not bare.strip(" `~"):
                fence = ""
        elif mark:
            fence = mark[1]
        elif (atx := _ATX.match(bare)) and (title := _without_closing(atx[2])):
            found.append(Heading(position, len(atx[1]), one_line(title)[:300]))
            bare = ""
        elif (
            (rule := _SETEXT.match(bare))
            and previous.strip()
            and not previous.lstrip().startswith(("-", ">", "|"))
        ):
            found.append(Heading(previous_start, 1 if rule[1][0] == "=" else 2, one_line(previous)[:300]))
            bare = ""
        previous, previous_start = ("" if fence or mark else bare), position
        position += len(line)
    return found[:20_000]


def _without_closing(heading: str) -> str:
    """``Budget ##`` -> ``Budget``, but ``C#`` as it is."""
    text = heading.rstrip()
    bare = text.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else text
