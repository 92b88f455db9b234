"""What a file is, by its content. A name is only asked where two kinds of text cannot be told apart.

What always holds: a file whose bytes are of no supported kind is refused, whatever its name says, and a file
whose name promises a binary format but whose content is mere text is refused too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Final

from ingestion.guards import Archive, IngestionFailure, Limits
from ingestion.text import decode

PDF: Final = "application/pdf"
DOCX: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX: Final = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
HTML: Final = "text/html"
MARKDOWN: Final = "text/markdown"
TEXT: Final = "text/plain"
CSV: Final = "text/csv"
ODT: Final = "application/vnd.oasis.opendocument.text"
EPUB: Final = "application/epub+zip"
RTF: Final = "application/rtf"
EML: Final = "message/rfc822"
JSON: Final = "application/json"

_OLE2: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FOREIGN: Final = (
    b"MZ", b"\x7fELF", b"\xca\xfe\xba\xbe", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe",
    b"\x89PNG", b"GIF8", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"RIFF", b"OggS", b"ID3", b"fLaC",
    b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd",
    b"SQLite format 3\x00", b"\x00asm", b"!<arch>", b"%!PS",
)  # fmt: skip
_MAIN_PARTS: Final = (
    (
        re.compile(
            rb"wordprocessingml\.(document|template)\.main"
            rb"|ms-word\.(document|template)\.macroEnabled"
        ),
        DOCX,
    ),
    (
        re.compile(
            rb"presentationml\.(presentation|slideshow|template)\.main"
            rb"|ms-powerpoint\.\w+\.macroEnabled"
        ),
        PPTX,
    ),
    (
        re.compile(
            rb"spreadsheetml\.(sheet|template)\.main"
            rb"|ms-excel\.(sheet|template)\.macroEnabled\.main"
        ),
        XLSX,
    ),
)
# Names that promise something else than text: text under such a name is not what its owner thinks it is.
_NOT_TEXT: Final = frozenset([
    "pdf", "docx", "docm", "dotx", "pptx", "pptm", "ppsx", "xlsx", "xlsm", "xltx", "doc", "dot", "xls",
    "xlt", "ppt", "pps", "rtf", "odt", "ods", "odp", "odg", "epub", "eml", "msg", "mbox", "zip", "gz",
    "tar", "7z", "rar", "exe", "dll", "so", "msi", "com", "bin", "iso", "png", "jpg", "jpeg", "gif",
    "tif", "tiff", "bmp", "webp", "svg", "mp3", "mp4", "avi", "mov", "wav",
])  # fmt: skip
_BY_NAME: Final = {
    "md": MARKDOWN, "markdown": MARKDOWN, "mdown": MARKDOWN, "csv": CSV, "tsv": CSV,
    "txt": TEXT, "text": TEXT, "log": TEXT, "rst": TEXT,
    "json": JSON, "jsonl": JSON, "ndjson": JSON,
}  # fmt: skip
_HTML_START: Final = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
    r"<(!doctype\s+html|html\b|head\b|body\b)",
    re.I | re.S,
)
_HTML_TAGS: Final = re.compile(
    r"<(p|div|span|table|tr|td|h[1-6]|a|ul|ol|li|br|title|meta|script)\b[^>]*>", re.I
)
_MARKDOWN: Final = re.compile(r"^(#{1,6} \S|```|\s*[-*] \[[ x]\] |\[[^\]]+\]: \S|.+\]\(\S+\))", re.M)
_MAIL: Final = re.compile(
    r"^(from|to|subject|date|received|mime-version|return-path|message-id):", re.I | re.M
)
_FIELD: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,60}:")
_JSON_START: Final = re.compile(r"(\[\s{0,99})?\{\s{0,99}\"[^\"\n]{1,200}\"\s{0,9}:")
_CONTROLS: Final = re.compile(r"[\x01-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_HEAD: Final = 64 * 1024


def sniff(path: Path, filename: str, *, limits: Limits | None = None) -> str:
    """The media type of the file at ``path``, one of the constants above.

    Raises :class:`IngestionFailure`: ``empty`` for no bytes, ``encrypted`` for a protected office file,
    ``malformed`` for a broken archive, ``bomb`` for one beyond the limits, else ``unsupported``.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.strip(b"\x00 \t\r\n"):
        raise IngestionFailure("empty", remedy="Upload a file that holds text.")
    if head.startswith(_OLE2):
        raise _ole2_failure(path)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return _office_kind(path, limits or Limits())
    extension = PurePath(filename).suffix.lower().lstrip(".")
    words = extension in _BY_NAME and b"\x00" not in head  # which may begin with "MZ" or mention "%PDF-"
    if head.startswith(_FOREIGN) and not words:
        raise IngestionFailure("unsupported")
    if head.startswith(b"{\\rtf"):
        return RTF
    mentioned = b"%PDF-" in head[:1024] and not words and not _HTML_START.match(head[:1024].decode("latin-1"))
    if mentioned or head.lstrip().startswith(b"%PDF-"):
        return PDF
    return _text_kind(head, extension)


def _ole2_failure(path: Path) -> IngestionFailure:
    """Protected docx, pptx and xlsx are OLE2 containers with a stream named EncryptedPackage."""
    needle = "EncryptedPackage".encode("utf-16-le")
    with path.open("rb") as file:
        tail = b""
        for block in _blocks(file.read, 1 << 20):
            if needle in tail + block:
                return IngestionFailure("encrypted")
            tail = block[-len(needle) :]
    return IngestionFailure(
        "unsupported",
        "The file is in an old office format that cannot be read.",
        remedy="Save it as docx, pptx, xlsx or PDF and upload that copy.",
    )


def _blocks(read: object, size: int) -> Iterable[bytes]:
    assert callable(read)
    while block := read(size):
        yield block


def _office_kind(path: Path, limits: Limits) -> str:
    with path.open("rb") as file:
        archive = Archive(file, limits)
        if "mimetype" in archive.names:
            return _open_kind(archive)
        if "[Content_Types].xml" not in archive.names:
            raise IngestionFailure("unsupported")
        types = archive.read("[Content_Types].xml", at_most=4 * 1024 * 1024)
    for pattern, kind in _MAIN_PARTS:
        if pattern.search(types):
            return kind
    raise IngestionFailure("unsupported")


def _open_kind(archive: Archive) -> str:
    """The kind of an OpenDocument file or an EPUB book, whose first entry names it."""
    named = archive.read("mimetype", at_most=256).strip()
    if named == EPUB.encode():
        return EPUB
    if named not in (ODT.encode(), f"{ODT}-template".encode()):
        raise IngestionFailure("unsupported")
    if "META-INF/manifest.xml" in archive.names:
        manifest = archive.read("META-INF/manifest.xml", at_most=4 * 1024 * 1024)
        if b":encryption-data" in manifest:
            raise IngestionFailure("encrypted")
    return ODT


def _text_kind(head: bytes, extension: str) -> str:
    text = decode(head)
    if len(_CONTROLS.findall(text)) + text.count("\x00") > 2 + 0.05 * len(text):
        raise IngestionFailure("unsupported")
    start = text.lstrip("\ufeff \t\r\n")
    if _is_mail(start, extension):
        return EML
    if extension in _NOT_TEXT:
        raise IngestionFailure("unsupported", f"The file is named .{extension}, but holds something else.")
    named = _BY_NAME.get(extension)
    if _HTML_START.match(text):
        return HTML
    if start.startswith(("<?xml", "<svg")) and named is None:
        raise IngestionFailure("unsupported")
    if named is not None:
        return named
    if extension in ("html", "htm", "xhtml") or (
        start.startswith("<") and len(_HTML_TAGS.findall(start)) >= 3
    ):
        return HTML
    if _JSON_START.match(start):
        return JSON
    if len(_MARKDOWN.findall(text)) >= 2:
        return MARKDOWN
    return CSV if _looks_like_csv(text) else TEXT


def _is_mail(start: str, extension: str) -> bool:
    """Whether a text begins with the head of a message: two known fields under the name, three without one."""
    if extension in _BY_NAME or not _FIELD.match(start):
        return False
    head = start[:8000].replace("\r\n", "\n").split("\n\n")[0]
    return len({field.lower() for field in _MAIL.findall(head)}) >= (2 if extension == "eml" else 3)


def _looks_like_csv(text: str) -> bool:
    """Three lines or more that all hold the same number of the same separator, and no other shape."""
    lines = [line for line in text.splitlines()[:20] if line.strip()]
    if len(lines) < 3:
        return False
    lines = lines[:-1] if len(text) >= _HEAD - 8 else lines
    return any(
        (count := lines[0].count(mark)) >= 1 and all(line.count(mark) == count for line in lines)
        for mark in ",;\t"
    )
