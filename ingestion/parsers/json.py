"""JSON and JSON lines: every record as a paragraph of ``path: value`` lines that can be read alone. One page.

What calls itself JSON but is none is kept as plain text, since its words can still be found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingestion.formats import Format
from ingestion.guards import IngestionFailure, Limits, TextBudget
from ingestion.parsed import ParsedDocument
from ingestion.parsers.text import read_text
from ingestion.text import PageBuilder, one_line

JSON = "application/json"
_START = re.compile(r"(\[\s{0,99})?\{\s{0,99}\"[^\"\n]{1,200}\"\s{0,9}:")
_TITLES = ("title", "name")


def _begins(text: str, extension: str) -> bool:
    return _START.match(text.lstrip("\ufeff \t\r\n")) is not None


FORMAT = Format(
    media_type=JSON, name="JSON", extensions=("json", "jsonl", "ndjson"), text=True, signs=((40, _begins),)
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    source = read_text(path, limits)
    page = PageBuilder(1, TextBudget(limits))
    try:
        value = _value(source)
    except RecursionError as error:
        raise IngestionFailure("malformed", "The file nests its values too deeply.") from error
    except ValueError:
        page.block(source)
        return ParsedDocument(JSON, (page.build(),))
    for record in value if isinstance(value, list) else [value]:
        add = page.block
        for name, leaf in _leaves(record, ""):
            add(f"{name}: {leaf}" if name else leaf)
            add = page.line
    title = next((value[key] for key in _TITLES if isinstance(value, dict) and value.get(key)), "")
    return ParsedDocument(JSON, (page.build(),), title if isinstance(title, str) else "")


def _value(source: str) -> Any:
    try:
        return json.loads(source)
    except json.JSONDecodeError:
        return [json.loads(line) for line in source.splitlines() if line.strip()]


def _leaves(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """The scalars below ``value`` with their paths; a list of scalars is one leaf."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{one_line(key)}" if path else one_line(key))
    elif isinstance(value, list):
        scalars = [_scalar(item) for item in value if not isinstance(item, dict | list)]
        if any(scalars):
            yield path, ", ".join(filter(None, scalars))
        for place, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _leaves(item, f"{path}[{place + 1}]")
    elif text := _scalar(value):
        yield path, text


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value)
