"""E-mail (RFC 5322): subject, sender, recipients, date and body as page 1, then the pages of its attachments.

Attachments are read by the parsers of their own kinds. One that cannot be read is named with its reason, never
dropped in silence. Of a body in two forms the plain one is taken.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import date
from email import message_from_binary_file, policy
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from pathlib import Path

from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument, ParsedPage
from ingestion.parsers import html
from ingestion.sniff import EML, sniff
from ingestion.text import PageBuilder, decode, one_line

MEDIA_TYPES = (EML,)
MAX_NESTING = 3
MAX_ATTACHMENTS = 100
_SHOWN = ("From", "To", "Cc", "Date")


def parse(path: Path, *, limits: Limits, password: str | None, depth: int = 1) -> ParsedDocument:
    """Raises ``bomb`` for messages nested too deeply or with too many attachments."""
    if depth > MAX_NESTING:
        raise IngestionFailure("bomb", "The file nests messages too deeply.")
    if path.stat().st_size > 8 * limits.max_characters:
        raise IngestionFailure("too_large")
    with path.open("rb") as file:
        message = message_from_binary_file(file, policy=policy.default)
    budget = TextBudget(limits)
    page = PageBuilder(1, budget)
    subject = _header(message, "Subject")
    page.heading(subject, 1)
    for name in _SHOWN:
        if value := _header(message, name):
            page.line(f"{name}: {value}")
    _add_body(message, page)
    attached = list(message.iter_attachments()) if message.is_multipart() else []
    if len(attached) > MAX_ATTACHMENTS:
        raise IngestionFailure("bomb", "The message has more attachments than are allowed.")
    pages: list[ParsedPage] = []
    for part in attached:
        name = one_line(part.get_filename() or "") or "message"
        try:
            found = _attachment(part, name, limits, password, depth)
        except IngestionFailure as failure:
            page.block(f"Attachment {name} was not read: {failure}")
            continue
        page.block(f"Attachment: {name}")
        for each in found:
            budget.spend(len(each.text))
            label = f"{name}, {each.label or f'page {each.number}'}" if len(found) > 1 else name
            pages.append(replace(each, number=len(pages) + 2, label=label[:200]))
    if len(pages) >= limits.max_pages:
        raise IngestionFailure("too_many_pages")
    return ParsedDocument(EML, (page.build(), *pages), subject, _author(message), _day(message))


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(str(message.get(name, "")))
    except Exception:  # the parser of headers raises many kinds on broken ones
        return ""


def _author(message: EmailMessage) -> str:
    return _header(message, "From").partition("<")[0].strip(' "') or _header(message, "From")


def _day(message: EmailMessage) -> date | None:
    try:
        return parsedate_to_datetime(_header(message, "Date")).date()
    except (ValueError, TypeError):
        return None


def _add_body(message: EmailMessage, page: PageBuilder) -> None:
    body = message.get_body(preferencelist=("plain", "html"))
    if body is None:
        return
    data = _content(body)
    if body.get_content_type() == "text/html":
        html.add_to(page, data, declared=body.get_content_charset() or "")
    else:
        page.block(decode(data, declared=body.get_content_charset() or ""))


def _content(part: MIMEPart) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attachment(
    part: MIMEPart, name: str, limits: Limits, password: str | None, depth: int
) -> tuple[ParsedPage, ...]:
    """The pages of an attachment with text; raises :class:`IngestionFailure`."""
    from ingestion.parsers import registry  # it imports the table of all parsers, this one among them

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "attachment")
            if part.get_content_type() == "message/rfc822":
                inner = part.get_payload()
                path.write_bytes(inner[0].as_bytes() if isinstance(inner, list) and inner else b"")  # type: ignore[union-attr]
                document = parse(path, limits=limits, password=password, depth=depth + 1)
            else:
                path.write_bytes(_content(part))
                media_type = sniff(path, name, limits=limits)
                if media_type == EML:
                    document = parse(path, limits=limits, password=password, depth=depth + 1)
                else:
                    document = registry.parser_for(media_type).parse(path, limits=limits, password=password)
    except (IngestionFailure, MemoryError):
        raise
    except Exception as error:  # a parser may raise anything on a broken file
        raise IngestionFailure("malformed") from error
    pages = tuple(page for page in document.pages if page.text.strip())
    if not pages:
        raise IngestionFailure("empty")
    return pages
