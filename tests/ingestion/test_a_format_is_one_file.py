"""A format is one module: finding it, knowing its files and reading them need no other change, and no library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingestion import formats

ROOT = Path(__file__).resolve().parents[2]
MODULE = """
from ingestion.formats import Format
from ingestion.parsed import ParsedDocument, ParsedPage

FORMAT = Format(media_type="text/x-runes", name="Runes", extensions=("runes",), magic=b"%RUNES")


def parse(path, *, limits, password):
    return ParsedDocument("text/x-runes", (ParsedPage(1, path.read_text()[6:].strip()),))
"""


def test_a_module_in_the_package_is_a_format(tmp_path: Path) -> None:
    (tmp_path / "runes.py").write_text(MODULE)
    (tmp_path / "upload").write_text("%RUNES fehu uruz")
    source = (
        "import sys; from pathlib import Path\n"
        "from ingestion import parsers\n"
        "parsers.__path__.append(sys.argv[1])\n"
        "from ingestion.guards import Limits\n"
        "from ingestion.parsers.registry import parse\n"
        "from ingestion.formats import unsupported\n"
        "print(parse(Path(sys.argv[1], 'upload'), 'x', limits=Limits(), password=None).pages[0].text)\n"
        "print(unsupported().remedy)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    text, remedy = ended.stdout.splitlines()
    assert text == "fehu uruz"
    assert "Runes" in remedy


def test_finding_all_formats_loads_no_library() -> None:
    source = (
        "import sys; from ingestion.formats import formats; formats()\n"
        "print(*sorted({'lxml', 'pypdf', 'openpyxl', 'striprtf', 'email', 'csv', 'html'} & set(sys.modules)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-S", "-c", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() in ("", "csv")


def test_every_extension_and_media_type_belongs_to_one_format() -> None:
    extensions = [extension for each in formats.formats() for extension in each.extensions]
    assert len(extensions) == len(set(extensions))
    assert len(formats.formats()) == len({each.media_type for each in formats.formats()}) >= 13


def test_an_unknown_media_type_has_no_parser() -> None:
    with pytest.raises(Exception, match="cannot be read") as failure:
        formats.parser_for("video/mp4")
    assert "PDF" in failure.value.remedy  # type: ignore[attr-defined]
