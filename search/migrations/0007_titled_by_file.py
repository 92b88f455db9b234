"""A document knows whether its title is what its file says about itself."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("search", "0006_pages_by_ocr")]
    operations = [
        migrations.AddField("document", "titled_by_file", models.BooleanField(default=False)),
    ]
