"""The product's own models and state, for benchmarks that ask what a person asks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.runtime import Runtime


@contextmanager
def installed(asked: dict[str, Any]) -> Iterator[Runtime]:
    """Django, the tables and the models that ``asked`` needs (``retrieval_only``, ``model``), on the state under
    ``TESSERA_VAR_DIR``. Ends the program where the product runs on it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    import django

    django.setup()

    from django.core.management import call_command

    from config.management.commands.evaluate import alone, models_for

    with alone() as free:
        if not free:
            raise SystemExit("The product runs on this folder: stop it, or set TESSERA_VAR_DIR to another.")
        call_command("migrate", interactive=False, verbosity=0)
        with models_for(asked) as models:
            yield models
