"""HTML by lxml: what a person would see, with headings, and the facts in the head."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

from ingestion import colours
from ingestion.formats import SURE, Format
from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.text import PageBuilder, clean, decode, header_of, one_line, row_text

HTML = "text/html"
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w.:-]+)", re.I)
_DROPPED = frozenset([
    "script", "style", "noscript", "template", "head", "svg", "math", "iframe", "object", "select",
    "button", "textarea",
])  # fmt: skip
_BLOCKS = frozenset([
    "address", "article", "aside", "blockquote", "body", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hr", "html", "li", "main", "nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot",
    "thead", "tr", "td", "th", "ul", "caption",
])  # fmt: skip
_HIDDEN = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0(?![.\d])|font-size\s*:\s*[01](?![.\d]|em|rem|ex|ch|v)"
    r"|(?<![\w-])(?:left|top|text-indent|margin-left)\s*:\s*-\d{4}",
    re.I,
)


# Both are asked of the beginning of any upload: no part of the text is looked at twice.
_START = re.compile(
    r"\s*+(?:<\?xml[^>]*+>\s*+)?+(?><!--.*?-->\s*+)*+"
    r"<(?:!doctype\s+html|html\b|head\b|body\b)",
    re.I | re.S,
)
_TAGS = re.compile(r"<(?:p|div|span|table|tr|td|h[1-6]|a|ul|ol|li|br|title|meta|script)\b[^<>]*+>", re.I)


def _begins(text: str, extension: str) -> bool:
    return _START.match(text) is not None


def _holds_tags(text: str, extension: str) -> bool:
    start = text.lstrip("\ufeff \t\r\n")
    return start.startswith("<") and len(_TAGS.findall(start)) >= 3


FORMAT = Format(
    media_type=HTML,
    name="HTML",
    extensions=("html", "htm", "xhtml"),
    text=True,
    signs=((SURE, _begins), (50, _holds_tags)),
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    if path.stat().st_size > 4 * limits.max_characters:
        raise IngestionFailure("too_large")
    page = PageBuilder(1, TextBudget(limits))
    root = add_to(page, path.read_bytes())
    facts = _facts(root)
    try:
        created = date.fromisoformat(facts.get("date", "")[:10])
    except ValueError:
        created = None
    return ParsedDocument(
        HTML,
        (page.build(),),
        facts.get("title", ""),
        facts.get("author", ""),
        created,
        root.get("lang") or "",
    )


def add_to(page: PageBuilder, data: bytes, *, declared: str = "") -> Any:
    """Adds what a person would see of the document in ``data``; returns its root, an lxml element.

    ``declared``: the encoding that a header around the document gave. A document without any element has an
    empty root.
    """
    from lxml import etree

    own = _CHARSET.search(data[:4096])
    source = clean(decode(data, declared=declared or (own[1].decode("ascii") if own else "")))
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, huge_tree=True, remove_pis=True)
    root = etree.fromstring(source.encode("utf-8"), parser)
    if root is None:
        return etree.Element("html")
    _walk(root, page)
    return root


def _facts(root: Any) -> dict[str, str]:
    facts: dict[str, str] = {}
    for item in root.iter("title", "meta"):
        if item.tag == "title":
            facts.setdefault("title", item.text or "")
            continue
        name = (item.get("name") or item.get("property") or "").lower()
        if name in ("author", "article:author", "dc.creator"):
            facts.setdefault("author", item.get("content") or "")
        elif name in ("date", "article:published_time", "dc.date", "dcterms.created"):
            facts.setdefault("date", item.get("content") or "")
    return facts


def _hidden(element: Any, styled: bool) -> bool:
    """``styled``: the document has a style sheet, so that a background may be any colour."""
    if "hidden" in element.attrib or _HIDDEN.search(element.get("style") or ""):
        return True
    return colours.is_as_its_background(element, styled=styled)


def _walk(root: Any, page: PageBuilder) -> None:
    """Iterative, since the depth of a page is its author's choice."""
    from lxml import etree

    skipped: Any = None
    run: list[str] = []
    styled = next(root.iter("style", "link"), None) is not None
    tables: list[tuple[list[str] | None, int]] = []
    rows: list[list[str]] = []

    def flush(tag: str) -> None:
        text = "\n".join(" ".join(line.split()) for line in "".join(run).split("\x1f")).strip()
        run.clear()
        if not text:
            return
        if tag in ("h1", "h2", "h3", "h4", "h5", "h6"):
            page.heading(text, int(tag[1]))
        elif tag == "li":
            page.line("- " + text)
        else:
            page.block(text)

    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if skipped is None:
                if not tag or tag in _DROPPED:
                    skipped = element
                    continue
                if _hidden(element, styled):
                    if any(text.strip() for text in element.itertext()):
                        page.left_out()
                    skipped = element
                    continue
                if tag in _BLOCKS and not rows:
                    parent = element.getparent()
                    flush(str(parent.tag) if parent is not None else "")
                elif tag in _BLOCKS or (tag == "br" and rows):
                    run.append(" ")  # a cell is one line, in which words stay apart
                if tag == "table":
                    tables.append((None, 0))
                elif tag == "tr" and tables:
                    rows.append([])
                elif tag == "br" and not rows:
                    run.append("\x1f")
                run.append(element.text or "")
            continue
        if skipped is element:
            skipped = None
            run.append(element.tail or "")
            continue
        if skipped is not None:
            continue
        if tag in ("td", "th") and rows:
            rows[-1].append(one_line("".join(run)))
            run.clear()
        elif tag == "tr" and rows and tables:
            cells, (header, count) = rows.pop(), tables[-1]
            first = header_of(cells) if count == 0 else None
            line = row_text(None if first else header, cells)
            tables[-1] = (first or header, count + 1)
            run.clear()
            if rows:
                run.append(line + " ")
            else:
                (page.block if count == 0 else page.line)(line)
        elif tag == "table" and tables:
            tables.pop()
        elif tag in _BLOCKS and not rows:
            flush(tag)
        elif tag in _BLOCKS:
            run.append(" ")
        if element is not root:
            run.append(element.tail or "")
    flush("")
