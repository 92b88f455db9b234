"""JSON and JSON lines: every record as a paragraph of ``path: value`` lines that can be read alone. One page.

Passages know the items of a list, the lines of JSON lines, or the paths of an object that they hold. What calls itself JSON but is none is kept as plain text, since its words can still be found.
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
_STEP = re.compile(r"\.|(?=\[)")
_STEPS = 3
_LONGEST_PATH = 80


def _begins(text: str, extension: str) -> bool:
    return _START.match(text.lstrip("\ufeff \t\r\n")) is not None


FORMAT = Format(
    media_type=JSON, name="JSON", extensions=("json", "jsonl", "ndjson"), text=True, signs=((40, _begins),)
)


def parse(path: Path, *, limits: Limits, password: str | None) -> ParsedDocument:
    source = read_text(path, limits)
    try:
        unit, value, records = _records(source)
    except RecursionError as error:
        raise IngestionFailure("malformed", "The file nests its values too deeply.") from error
    except ValueError:
        page = PageBuilder(1, TextBudget(limits))
        page.block(source)
        return ParsedDocument(JSON, (page.build(),))
    page = PageBuilder(1, TextBudget(limits), unit=unit)
    for number, record in records:
        add = page.block
        for name, leaf in _leaves(record, ""):
            page.mark(str(number) if unit else _beginning(name))
            add(f"{name}: {leaf}" if name else leaf)
            add = page.line
    title = next((value[key] for key in _TITLES if isinstance(value, dict) and value.get(key)), "")
    return ParsedDocument(JSON, (page.build(),), title if isinstance(title, str) else "")


def _records(source: str) -> tuple[str, Any, list[tuple[int, Any]]]:
    """What is counted in it, its value, and the records with their numbers."""
    try:
        value = json.loads(source)
    except json.JSONDecodeError:
        lines = [(n, json.loads(line)) for n, line in enumerate(source.splitlines(), 1) if line.strip()]
        return "line", [value for _, value in lines], lines
    if isinstance(value, list):
        return "item", value, list(enumerate(value, 1))
    return "", value, [(1, value)]


def _beginning(path: str) -> str:
    """The first steps of a path: ``data.servers[3]`` of ``data.servers[3].address.port``."""
    steps = list(_STEP.finditer(path, 1))
    cut = path[: steps[_STEPS - 1].start()] if len(steps) >= _STEPS else path
    return cut if len(cut) <= _LONGEST_PATH else f"{cut[: _LONGEST_PATH - 1]}…"


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
