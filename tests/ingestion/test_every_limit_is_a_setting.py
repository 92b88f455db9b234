"""What reading a file may cost is the operator's to say: every limit of the child comes from a setting of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ingestion import child
from ingestion.guards import IngestionFailure, Limits
from tests.ingestion import factories

SETTING_OF = {
    "memory_mb": "parse_memory_mb", "cpu_s": "parse_cpu_seconds", "wall_s": "parse_wall_seconds",
    "page_s": "parse_page_seconds",
    "ocr_page_s": "ocr_page_seconds", "ocr_max_pages": "ocr_max_pages", "ocr_memory_mb": "ocr_memory_mb",
}  # fmt: skip


def test_each_limit_follows_its_setting(settings: Any) -> None:
    for place, limit in enumerate(dataclasses.fields(Limits), 1):
        name = SETTING_OF.get(limit.name, f"parse_{limit.name}")
        assert getattr(settings.ENV, name) == limit.default, "the two name one default"
        settings.ENV = settings.ENV.model_copy(update={name: place})
    assert dataclasses.astuple(child.limits()) == tuple(range(1, len(dataclasses.fields(Limits)) + 1))


def test_messages_within_messages_and_attachments_are_limited(tmp_path: Path) -> None:
    (tmp_path / "upload").write_bytes(factories.nested_mail(depth=2))
    read = child.parse_file(tmp_path / "upload", filename="a.eml", limits=Limits(max_nesting=2))
    assert "not read" not in read.pages[0].text
    shallow = child.parse_file(tmp_path / "upload", filename="a.eml", limits=Limits(max_nesting=1))
    assert "not read: The file nests messages too deeply." in shallow.pages[0].text
    with pytest.raises(IngestionFailure) as failure:
        child.parse_file(tmp_path / "upload", filename="a.eml", limits=Limits(max_attachments=0))
    assert failure.value.code == "bomb"
