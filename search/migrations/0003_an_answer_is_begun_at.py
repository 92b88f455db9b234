"""A turn that is answered again keeps its place in the conversation: its run has a time of its own."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0002_row_security")]
    operations = [
        migrations.AddField("turn", "begun_at", models.DateTimeField(default=django.utils.timezone.now)),
    ]
