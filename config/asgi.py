"""The ASGI entry point of every serving process."""

from __future__ import annotations

import os

from config.body_limit import FORM_OVERHEAD, BodyLimit
from config.checks import refuse_wrong_database, refuse_wrong_settings
from config.env import env
from config.live_body import get_live_application

refuse_wrong_settings()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = BodyLimit(get_live_application(), env().max_upload_mb * 1_000_000 + FORM_OVERHEAD)
refuse_wrong_database()

if env().mode == "production" and env().load_models:
    # `manage.py serve` does the same in the embedded mode.
    from config.runtime import start_runtime

    start_runtime()
