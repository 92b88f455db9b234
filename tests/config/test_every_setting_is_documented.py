"""docs/configuration.md is a contract: a setting that it does not describe fails here."""

from __future__ import annotations

from pathlib import Path

import pytest

from config.env import Env

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(Env.model_fields))
def test_setting_has_a_row_with_its_description(name: str) -> None:
    field = Env.model_fields[name]
    assert field.description
    row = next(
        (line for line in DOCUMENT.splitlines() if line.startswith(f"| `TESSERA_{name.upper()}` |")), None
    )
    assert row is not None, f"docs/configuration.md does not list TESSERA_{name.upper()}"
    assert field.description in row


def test_no_row_describes_a_setting_that_is_gone() -> None:
    listed = {line.split("`")[1] for line in DOCUMENT.splitlines() if line.startswith("| `TESSERA_")}
    assert listed == {f"TESSERA_{name.upper()}" for name in Env.model_fields}
