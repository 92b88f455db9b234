"""The ASGI entry point of every serving process."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

from config.env import env

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
application = get_asgi_application()

if env().mode == "production" and env().load_models:
    # `manage.py serve` does the same in the embedded mode.
    from config.runtime import start_runtime

    start_runtime()
