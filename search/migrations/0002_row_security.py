"""Forces PostgreSQL's row security on the corpus and the conversations."""

from __future__ import annotations

from django.db import migrations

from tenants.row_security import ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [("search", "0001_initial")]
    operations = [
        ForceRowSecurity(
            ["Collection", "Document", "DocumentVersion", "Page", "Chunk", "Conversation", "Turn"]
        )
    ]
