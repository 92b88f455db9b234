"""A scanned page is read from its picture where text recognition is installed; where not, it is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingestion import second_reading
from ingestion.child import parse_file
from ingestion.guards import IngestionFailure, Limits
from tests.ingestion import factories

ROOT = Path(__file__).resolve().parents[2]
LINES = "Invoice 4711 of Globex\nThe amount of 1200 euros is due on the first of March."


def file(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "upload").write_bytes(data)
    return tmp_path / "upload"


def test_a_scanned_page_gets_its_words_and_a_blank_one_is_named(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    document = parse_file(
        file(tmp_path, factories.make_scan([LINES, ""])),
        filename="scan.pdf",
        limits=Limits(),
        on_page=lambda done, total: told.append((done, total)),
    )
    assert document.pages[0].text.split() == LINES.split()
    assert (document.pages_by_ocr, document.pages_without_text) == ((1,), (2,))
    assert document.language == "en"
    assert told[-1] == (2, 2)


def test_no_more_pages_are_read_than_is_allowed(tmp_path: Path) -> None:
    document = parse_file(
        file(tmp_path, factories.make_scan([LINES, LINES])), filename="s.pdf", limits=Limits(ocr_max_pages=1)
    )
    assert (document.pages_by_ocr, document.pages_without_text) == ((1,), (2,))


def test_too_little_time_or_memory_leaves_the_page_without_text(tmp_path: Path) -> None:
    path = file(tmp_path, factories.make_scan([LINES]))
    for limits in (Limits(ocr_page_s=1, ocr_memory_mb=200), Limits(ocr_memory_mb=200)):
        with pytest.raises(IngestionFailure) as failure:
            parse_file(path, filename="s.pdf", limits=limits)
        assert failure.value.code == "empty"


def test_without_the_extra_a_scan_is_empty_and_the_remedy_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(second_reading, "ocr_installed", lambda: False)
    with pytest.raises(IngestionFailure) as failure:
        parse_file(file(tmp_path, factories.make_scan([LINES])), filename="s.pdf", limits=Limits())
    assert failure.value.code == "empty"
    assert "tessera[ocr]" in failure.value.remedy


def test_the_extra_is_installed_here() -> None:
    assert second_reading.ocr_installed()


def test_recognition_reads_without_network_or_a_second_program(tmp_path: Path) -> None:
    """The same guard as in the child, with what was refused made known."""
    path = file(tmp_path, factories.make_scan([LINES]))
    source = (
        "import sys; from pathlib import Path; from ingestion import parse_child, ocr\n"
        "sys.addaudithook(parse_child._forbid)\n"
        "print(list(ocr.texts(Path(sys.argv[1]), [1], None)))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", source, str(path)], cwd=ROOT, capture_output=True, text=True
    )
    assert "Invoice 4711 of Globex" in ended.stdout, ended.stderr
