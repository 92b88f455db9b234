"""In which language a document is written, told from its text.

In the process that asked for the document: loading the model takes half a second, more than reading most files, and
the limited child lives for one file only. The text has been cleaned, and is only counted here.
"""

from __future__ import annotations

import threading
from typing import Final

from ingestion.parsed import ParsedDocument

_SAMPLE: Final = 20_000
_LETTERS: Final = 20
_one_at_a_time = threading.Lock()  # the model is loaded at its first use


def language_of(document: ParsedDocument) -> str:
    """ISO 639-1 code of the language of the text, else the one that the file names; empty where neither is known."""
    sample = " ".join(page.text[:_SAMPLE] for page in document.pages[:50])[:_SAMPLE]
    if sum(character.isalpha() for character in sample) < _LETTERS:
        return document.language[:2].lower()
    import py3langid

    with _one_at_a_time:
        return str(py3langid.classify(sample)[0])
