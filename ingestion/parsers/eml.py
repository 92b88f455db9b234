"""E-mail (RFC 5322): subject, sender, recipients, date and body as page 1, then the pages of its attachments.

Attachments are read by the parsers of their own kinds. One that cannot be read is named with its reason, never
dropped in silence. Of a body in two forms the plain one is taken.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.formats import CERTAIN, Format
from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import Drawn, ParsedDocument, ParsedPage, Unread
from ingestion.parsers import html
from ingestion.text import PageBuilder, decode, one_line

if TYPE_CHECKING:
    from email.message import EmailMessage, MIMEPart

EML = "message/rfc822"
_MAIL = re.compile(r"^(from|to|subject|date|received|mime-version|return-path|message-id):", re.I | re.M)
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:")


def _is_mail(text: str, extension: str) -> bool:
    """Whether a text begins with the head of a message: two known fields under the name, three without one."""
    start = text.lstrip("\ufeff \t\r\n")
    if not _FIELD.match(start):
        return False
    head = start[:8000].replace("\r\n", "\n").split("\n\n")[0]
    return len({field.lower() for field in _MAIL.findall(head)}) >= (2 if extension == "eml" else 3)


FORMAT = Format(
    media_type=EML, name="e-mail (eml)", extensions=("eml",), unit="part", signs=((CERTAIN, _is_mail),)
)
_SHOWN = ("From", "To", "Cc", "Date")


def parse(path: Path, *, limits: Limits, password: str | None, depth: int = 1) -> ParsedDocument:
    """Raises ``bomb`` for messages nested too deeply or with too many attachments."""
    if depth > limits.max_nesting:
        raise IngestionFailure("bomb", "The file nests messages too deeply.")
    if path.stat().st_size > 8 * limits.max_characters:
        raise IngestionFailure("too_large")
    message = _message(path)
    budget = TextBudget(limits)
    page = PageBuilder(1, budget)
    subject = _header(message, "Subject")
    page.heading(subject, 1)
    for name in _SHOWN:
        if value := _header(message, name):
            page.line(f"{name}: {value}")
    _add_body(message, page)
    attached = _attachments(message)
    if len(attached) > limits.max_attachments:
        raise IngestionFailure("bomb", "The message has more attachments than are allowed.")
    pages: list[ParsedPage] = []
    unread: list[Unread] = []
    drawn: list[Drawn] = []
    for place, part in enumerate(attached):
        name = one_line(part.get_filename() or "") or "message"
        try:
            found = _attachment(part, name, limits, password, depth)
        except IngestionFailure as failure:
            page.block(f"Attachment {name} was not read: {failure}")
            continue
        page.block(f"Attachment: {name}")
        doubtful = {item.page: item for item in found.unread}
        pictures = {item.page: item for item in found.drawn}
        for each in found.pages:
            if not each.text.strip() and each.number not in doubtful:
                continue
            budget.spend(len(each.text))
            number = len(pages) + 2
            label = f"{name}, {each.label or f'page {each.number}'}" if len(found.pages) > 1 else name
            pages.append(replace(each, number=number, label=label[:200]))
            if (item := doubtful.get(each.number)) is not None:
                unread.append(replace(item, page=number, part=(place, *item.part)))
            if (picture := pictures.get(each.number)) is not None:
                drawn.append(replace(picture, page=number, part=(place, *picture.part)))
    if len(pages) >= limits.max_pages:
        raise IngestionFailure("too_many_pages")
    return ParsedDocument(
        EML, (page.build(), *pages), subject, _author(message), _day(message),
        unread=tuple(unread), drawn=tuple(drawn),
    )  # fmt: skip


def attachment(path: Path, places: Sequence[int]) -> Path:
    """A copy of the attachment that ``places`` lead to, through messages within the one at ``path``.

    Raises ``malformed`` where there is none.
    """
    for place in places:
        attached = _attachments(_message(path))
        if not 0 <= place < len(attached):
            raise IngestionFailure("malformed")
        with tempfile.NamedTemporaryFile(delete=False) as copy:
            copy.write(_bytes_of(attached[place]))
        path = Path(copy.name)
    return path


def _message(path: Path) -> EmailMessage:
    from email import message_from_binary_file, policy

    with path.open("rb") as file:
        return message_from_binary_file(file, policy=policy.default)


def _attachments(message: EmailMessage) -> list[MIMEPart]:
    return list(message.iter_attachments()) if message.is_multipart() else []


def _header(message: EmailMessage, name: str) -> str:
    try:
        return one_line(str(message.get(name, "")))
    except Exception:  # the parser of headers raises many kinds on broken ones
        return ""


def _author(message: EmailMessage) -> str:
    return _header(message, "From").partition("<")[0].strip(' "') or _header(message, "From")


def _day(message: EmailMessage) -> date | None:
    from email.utils import parsedate_to_datetime

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


def _bytes_of(part: MIMEPart) -> bytes:
    """What an attachment holds; of a message within the message, its source."""
    if part.get_content_type() != "message/rfc822":
        return _content(part)
    inner = part.get_payload()
    return inner[0].as_bytes() if isinstance(inner, list) and inner else b""  # type: ignore[union-attr]


def _attachment(
    part: MIMEPart, name: str, limits: Limits, password: str | None, depth: int
) -> ParsedDocument:
    """An attachment with text, or with pages that may have some; raises :class:`IngestionFailure`."""
    from ingestion.parsers.registry import read_file
    from ingestion.sniff import sniff

    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "attachment")
            path.write_bytes(_bytes_of(part))
            if part.get_content_type() == "message/rfc822" or sniff(path, name, limits=limits) == EML:
                document = parse(path, limits=limits, password=password, depth=depth + 1)
            else:
                document = read_file(path, name, limits=limits, password=password)
    except (IngestionFailure, MemoryError):
        raise
    except Exception as error:  # a parser may raise anything on a broken file
        raise IngestionFailure("malformed") from error
    if not document.unread and not any(page.text.strip() for page in document.pages):
        raise IngestionFailure("empty")
    return document
