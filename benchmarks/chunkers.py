"""The ways of cutting a text that :mod:`benchmarks.chunking` compares.

Each is a function of a text's name and the text that returns ``(start, end, embedded)`` for its passages: the
characters that would be cited, and the words that are embedded for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from ingestion.chunking import chunk
from ingestion.parsed import ParsedDocument, ParsedPage
from search.sentences import sentence_spans

Cut = Callable[[str, str], list[tuple[int, int, str]]]


def makings(embedder: Any) -> dict[str, Cut]:
    tokenizer = embedder.tokenizer
    named: dict[str, Cut] = {}
    for size, overlap in (
        (100, 0),
        (200, 0),
        (200, 30),
        (200, 100),
        (256, 0),
        (256, 50),
        (400, 0),
        (400, 100),
    ):
        named[f"windows {size}/{overlap}"] = windows(tokenizer, size, overlap)
    for size, overlap in ((100, 0), (200, 0), (200, 100), (256, 0), (256, 50), (400, 0), (400, 100)):
        named[f"windows {size}/{overlap}"] = windows(tokenizer, size, overlap)
    for size, overlap in ((200, 0), (200, 30)):
        named[f"splitter {size}/{overlap}"] = splitter(tokenizer, size, overlap)
    for size in (100, 128, 160, 200, 240):
        named[f"ours {size}"] = ours(tokenizer, size)
    named["subjects 200"] = subjects(embedder, 200)
    return named


def windows(tokenizer: Tokenizer, size: int, overlap: int) -> Cut:
    """Every ``size`` tokens, wherever that is."""

    def cut(name: str, text: str) -> list[tuple[int, int, str]]:
        tokens = tokenizer.encode(text, add_special_tokens=False).offsets
        spans = []
        for first in range(0, max(1, len(tokens) - overlap), size - overlap):
            part = tokens[first : first + size]
            spans.append((part[0][0], part[-1][1], text[part[0][0] : part[-1][1]]))
        return spans

    return cut


def splitter(tokenizer: Tokenizer, size: int, overlap: int) -> Cut:
    """semantic-text-splitter: full passages, cut at the largest structure of Markdown that fits."""
    from semantic_text_splitter import MarkdownSplitter

    made = MarkdownSplitter.from_huggingface_tokenizer(tokenizer, size, overlap=overlap)

    def cut(name: str, text: str) -> list[tuple[int, int, str]]:
        return [(start, start + len(part), part) for start, part in made.chunk_indices(text)]

    return cut


def ours(tokenizer: Tokenizer, size: int) -> Cut:
    """The product's own way. The texts have no headings that its parser knows, and no title is added: what is compared
    is the cuts."""

    def cut(name: str, text: str) -> list[tuple[int, int, str]]:
        document = ParsedDocument("text/markdown", (ParsedPage(1, text),))
        passages = chunk(document, tokenizer=tokenizer, max_tokens=size)
        return [
            (passage.start, passage.end, "\n".join(filter(None, [passage.lead, passage.text])))
            for passage in passages
        ]

    return cut


def subjects(embedder: Any, size: int) -> Cut:
    """Sentences in runs of up to ``size`` tokens, chosen so that the sentences of a run are as alike as can be to
    the embedder, which reads every sentence once more for it."""

    def cut(name: str, text: str) -> list[tuple[int, int, str]]:
        spans = sentence_spans(text)
        sizes = [len(embedder.tokenizer.encode(text[a:b], add_special_tokens=False).ids) for a, b in spans]
        vectors = embedder.embed_passages([text[a:b] for a, b in spans])
        alike = vectors @ vectors.T
        alike -= float(np.mean([alike[i, j] for i in range(len(spans)) for j in range(max(0, i - 10), i)]))
        best, begins = [0.0] * (len(spans) + 1), [0] * (len(spans) + 1)
        for end in range(1, len(spans) + 1):
            most, gain, tokens = -float("inf"), 0.0, 0
            for start in range(end - 1, -1, -1):
                tokens += sizes[start]
                if tokens > size and start < end - 1:
                    break
                gain += float(alike[start, start + 1 : end].sum())
                if best[start] + gain > most:
                    most, begins[end] = best[start] + gain, start
            best[end] = most
        found, end = [], len(spans)
        while end:
            first, last = spans[begins[end]][0], spans[end - 1][1]
            found.append((first, last, text[first:last]))
            end = begins[end]
        return found[::-1]

    return cut
