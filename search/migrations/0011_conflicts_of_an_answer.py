"""An answer keeps what other documents say otherwise."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0010_place_of_passages")]
    operations = [migrations.AddField("turn", "conflicts", models.JSONField(default=list))]
