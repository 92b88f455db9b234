"""What holds of the passages of any document, whatever is in it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from ingestion.parsed import ParsedDocument, TextChunk

WORDS = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
WORDS.pre_tokenizer = pre_tokenizers.Whitespace()
WORDS.enable_truncation(5)

BYTES = Tokenizer(
    models.BPE({letter: n for n, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, [])
)
BYTES.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
BYTES.decoder = decoders.ByteLevel()


def count(tokenizer: Tokenizer, text: str) -> int:
    """Tokens without truncation."""
    full = Tokenizer.from_str(tokenizer.to_str())
    full.no_truncation()
    return len(full.encode(text, add_special_tokens=False).ids)


def assert_cut_exactly(
    document: ParsedDocument, chunks: Sequence[TextChunk], tokenizer: Tokenizer, max_tokens: int
) -> None:
    full = Tokenizer.from_str(tokenizer.to_str())
    full.no_truncation()
    assert [passage.ordinal for passage in chunks] == list(range(len(chunks)))
    assert [passage.page for passage in chunks] == sorted(passage.page for passage in chunks)
    for page in document.pages:
        done = 0
        for passage in (passage for passage in chunks if passage.page == page.number):
            assert page.text[passage.start : passage.end] == passage.text
            assert passage.text.strip() == passage.text
            assert passage.text
            assert not page.text[done : passage.start].strip(), (
                "passages are apart and leave out white space only"
            )
            tokens = len(full.encode(passage.text, add_special_tokens=False).ids)
            assert (tokens <= max_tokens and len(passage.text) <= 16 * max_tokens) or len(passage.text) == 1
            done = passage.end
        assert not page.text[done:].strip()
