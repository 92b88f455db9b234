"""An answer names the language model that was asked for it."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0003_an_answer_is_begun_at")]
    operations = [
        migrations.AddField("turn", "model", models.CharField(blank=True, default="", max_length=200)),
    ]
