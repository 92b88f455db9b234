"""A version knows which pages were read from their pictures, and whether a password opened its file."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0005_maintenance_jobs")]
    operations = [
        migrations.AddField("documentversion", "pages_by_ocr", models.JSONField(default=list)),
        migrations.AddField("documentversion", "protected", models.BooleanField(default=False)),
    ]
