"""`manage.py demo`: two organisations with accounts and documents to try the product with."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from config.demo_data import demo_password, seed


class Command(BaseCommand):
    help = "Creates the demo organisations acme and globex, their accounts and documents. Safe to repeat."

    def handle(self, *args: Any, **options: Any) -> None:
        seed()
        self.stdout.write(f"alice and bob (acme), charlie (globex); password: {demo_password()}")
