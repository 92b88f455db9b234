"""The product's settings for tests: its state lies in a temporary folder of this run and no model is loaded.

This module is read before anything else, since pytest-django starts Django before it reads any conftest. A test
that starts a process of the product gives it ``config.settings`` and a folder of its own.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

if "TESSERA_VAR_DIR" not in os.environ:
    os.environ["TESSERA_VAR_DIR"] = tempfile.mkdtemp(prefix="tessera-tests-")
    atexit.register(shutil.rmtree, os.environ["TESSERA_VAR_DIR"], ignore_errors=True)
os.environ["TESSERA_LOAD_MODELS"] = "false"
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"

from config.settings import *  # noqa: F403
from config.settings import ENV, STATIC_ROOT

ENV.index_process = False  # a process a test would cost minutes; tests/index runs both ways

STATIC_ROOT.mkdir(parents=True, exist_ok=True)
