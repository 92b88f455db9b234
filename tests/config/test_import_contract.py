"""The layers of docs/architecture.md hold, and no foreign key points upwards past import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from django.apps import apps

ROOT = Path(__file__).resolve().parents[2]
LAYER = {"tenants": 0, "search": 1, "ingestion": 2, "config": 3}


def test_imports_follow_the_layers() -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_no_relation_points_upwards() -> None:
    for model in apps.get_models():
        here = LAYER.get(model._meta.app_label)
        for field in model._meta.get_fields():
            if here is None or not field.is_relation or field.auto_created or field.related_model is None:
                continue
            there = LAYER.get(field.related_model._meta.app_label, -1)
            assert there <= here, f"{model.__name__}.{field.name} points upwards"
