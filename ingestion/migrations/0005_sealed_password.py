"""A job keeps the password of its file, encrypted, until it ends."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0004_index_counts")]
    operations = [
        migrations.AddField("ingestionjob", "sealed_password", models.TextField(blank=True, default="")),
        migrations.AddConstraint(
            "ingestionjob",
            models.CheckConstraint(
                condition=models.Q(status__in=["queued", "processing"]) | models.Q(sealed_password=""),
                name="job_password_until_it_ends",
            ),
        ),
    ]
