"""A document's title: what a person gave, else what the file says about itself, else the file's name.

What always holds: a title that a person gave is never replaced; one that says nothing about the document, which programs
write by themselves ("Microsoft Word - x.doc", "untitled", "Slide 1"), is not taken from a file.
"""

from __future__ import annotations

import re
from typing import Final

from ingestion.display_name import visible
from ingestion.parsed import ParsedDocument
from search.models import Document, DocumentVersion

LONGEST: Final = 200
LONGEST_READ = 1000
"""Characters of a title that are looked at, since a child may answer one of any length."""
_NUMBERED = re.compile(
    r"(untitled|unnamed|unbenannt|sans[ -]titre|sin t[ií]tulo|senza titolo|no ?title|title|titel|document|dokument"
    r"|presentation|pr[äa]sentation|powerpoint[ -]presentation|powerpoint[ -]pr[äa]sentation|slide|folie|page|seite|book"
    r"|mappe|sheet|tabelle|workbook|new microsoft (word|excel|powerpoint) \w+|word document|scan|scanned \w+|image|img"
    r"|home|index|test|temp|tmp|draft|default|print)[\s_#.()-]*\d*\)?",
    re.I,
)
_OF_A_PROGRAM = re.compile(
    r"^(microsoft (word|powerpoint|excel|office \w+)|openoffice|libreoffice)\b[\s:–-]+", re.I
)
_FILE = re.compile(
    r"\S{1,80}\.(docx?|dotx?|pptx?|xlsx?|odt|rtf|pdf|tex|dvi|ps|eps|indd|qxd|html?|txt|md|wpd|pages|pub)",
    re.I,
)
_PATH = re.compile(r"([a-z]:[\\/].*|([\\/]{2}|/|file:|https?:)\S*)", re.I)


def usable(title: str) -> str:
    """The title that a file gives itself as people read it, or nothing where it says nothing about the file."""
    clean = visible(title[:LONGEST_READ])
    if _OF_A_PROGRAM.match(clean) or _FILE.fullmatch(clean) or _PATH.fullmatch(clean):
        return ""
    letters = sum(map(str.isalpha, clean))
    if _NUMBERED.fullmatch(clean) or letters < (3 if clean.isascii() else 1):
        return ""
    return clean if len(clean) <= LONGEST else clean[: LONGEST - 1].rstrip() + "…"


def title_for(document: Document, parsed: ParsedDocument) -> str:
    """The title of ``document`` once its file was read as ``parsed``."""
    if not document.titled_by_file and document.title != document.filename:
        return document.title
    return usable(parsed.title) or document.filename


def adopt(version: DocumentVersion, parsed: ParsedDocument) -> None:
    """Keeps the title of the file just read, unless a person gave one or a later version is published already. In a short
    transaction of its own, within the scope of the organisation: the document's row is held until its end."""
    rows = Document.objects.select_for_update(no_key=True, of=("self",)).select_related("published")
    now = rows.filter(id=version.document_id).first()
    if now is None or (now.published is not None and now.published.created_at > version.created_at):
        return
    title = title_for(now, parsed)
    by_file = title != now.filename and (now.titled_by_file or now.title == now.filename)
    if (title, by_file) != (now.title, now.titled_by_file):
        Document.objects.filter(id=now.id).update(title=title, titled_by_file=by_file)
