"""Cuts a document into passages that a model can embed: by headings, then paragraphs, sentences, words.

What always holds: ``page.text[chunk.start:chunk.end] == chunk.text``, chunks of a page are in order, none is
blank, none has more than ``max_tokens`` tokens of the tokenizer given (without its special tokens) nor more
than 16 characters for each of these, and every visible character of a page lies in a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from semantic_text_splitter import MarkdownSplitter, TextSplitter
from tokenizers import Tokenizer

from ingestion.parsed import Heading, ParsedDocument, ParsedPage, TextChunk

# A tokenizer may count a run of ten thousand letters as one unknown token.
_CHARACTERS_PER_TOKEN: Final = 16
_WINDOW: Final = 20_000  # characters that are cut in one call, so that the caller hears of it in between
_MARKDOWN: Final = "text/markdown"


def chunk(
    document: ParsedDocument,
    *,
    tokenizer: Tokenizer,
    max_tokens: int = 220,
    overlap: int = 30,
    on_progress: Callable[[int], None] | None = None,
) -> list[TextChunk]:
    """The passages of ``document``, numbered from 0 through all its pages.

    ``overlap`` is the number of tokens (0 to 30, under ``max_tokens``) that neighbours may share.
    Headings above a page (of the pages before it) count towards the path of its passages. ``on_progress`` is
    told the pages that are done, often: at least every 20,000 characters. Raises ``ValueError`` for numbers out of range.
    """
    if max_tokens < 1 or not 0 <= overlap <= 30 or overlap >= max_tokens:
        raise ValueError("max_tokens must be at least 1, overlap 0 to 30 and less than max_tokens")
    counter = Tokenizer.from_str(tokenizer.to_str())
    counter.no_truncation()  # a truncating tokenizer would count no text as longer than its own limit
    counter.no_padding()
    kind = MarkdownSplitter if document.media_type == _MARKDOWN else TextSplitter
    splitter = kind.from_huggingface_tokenizer(counter, max_tokens, overlap=overlap, trim=True)
    chunks: list[TextChunk] = []
    path: list[Heading] = []
    for done, page in enumerate(document.pages):
        for start, end, headings in _sections(page, path, counter, max_tokens):
            names = tuple(heading.text for heading in headings)
            for first, last in _windows(page.text, start, end):
                if on_progress is not None:
                    on_progress(done)
                for left, right in _spans(splitter, page.text, first, last, max_tokens):
                    chunks.append(
                        TextChunk(len(chunks), page.number, left, right, page.text[left:right], names)
                    )
    return chunks


def _windows(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The section ``start`` to ``end`` in parts of at most :data:`_WINDOW` characters, parted at the last
    paragraph, line, sentence or word that ends in the second half of each."""
    while end - start > _WINDOW:
        half, full = start + _WINDOW // 2, start + _WINDOW
        breaks = ((text.rfind(mark, half, full), mark) for mark in ("\n\n", "\n", ". ", " "))
        cut = next((place + len(mark) for place, mark in breaks if place >= 0), full)
        yield start, cut
        start = cut
    yield start, end


def _sections(
    page: ParsedPage, path: list[Heading], counter: Tokenizer, max_tokens: int
) -> Iterator[tuple[int, int, tuple[Heading, ...]]]:
    """Spans between headings with the path above each; short neighbours are joined while they fit one chunk.

    ``path`` is carried from page to page and changed here.
    """
    cuts = [(heading.start, heading) for heading in page.headings if 0 <= heading.start < len(page.text)]
    cuts.sort(key=lambda cut: cut[0])
    starts = [0, *(start for start, _ in cuts)]
    ends = [*(start for start, _ in cuts), len(page.text)]
    opened: tuple[int, int, tuple[Heading, ...], int] | None = None
    for place, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if place:
            heading = cuts[place - 1][1]
            path[:] = [above for above in path if above.level < heading.level] + [heading]
        if not page.text[start:end].strip():
            continue
        limit = _CHARACTERS_PER_TOKEN * max_tokens
        size = _count(counter, page.text[start:end]) if end - start <= limit else max_tokens + 1
        if opened is not None:
            if opened[3] < max_tokens // 3 and opened[3] + size <= max_tokens and end - opened[0] <= limit:
                opened = (opened[0], end, opened[2], opened[3] + size)
                continue
            yield opened[:3]
        opened = (start, end, tuple(path), size)
    if opened is not None:
        yield opened[:3]


def _count(counter: Tokenizer, text: str) -> int:
    return len(counter.encode(text, add_special_tokens=False).ids)


def _spans(
    splitter: TextSplitter | MarkdownSplitter, text: str, start: int, end: int, max_tokens: int
) -> Iterator[tuple[int, int]]:
    limit = _CHARACTERS_PER_TOKEN * max_tokens
    section = text[start:end]
    for offset, piece in splitter.chunk_indices(section):
        for cut in range(0, len(piece), limit):
            left = start + offset + cut
            right = start + offset + min(cut + limit, len(piece))
            part = text[left:right]
            left += len(part) - len(part.lstrip())
            right -= len(part) - len(part.rstrip())
            if left < right:
                yield left, right
