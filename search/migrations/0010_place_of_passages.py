"""A passage knows where on its page it stands, where its format counts rows or items."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0009_row_security_of_evaluation")]
    operations = [
        migrations.AddField("chunk", "place", models.CharField(blank=True, default="", max_length=200)),
    ]
