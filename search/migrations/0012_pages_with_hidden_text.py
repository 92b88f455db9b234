"""A version knows of which pages hidden text was left out."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0011_conflicts_of_an_answer")]
    operations = [
        migrations.AddField("documentversion", "pages_with_hidden_text", models.JSONField(default=list)),
    ]
