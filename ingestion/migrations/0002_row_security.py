"""Forces PostgreSQL's row security on the jobs."""

from __future__ import annotations

from django.db import migrations

from tenants.row_security import ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0001_initial")]
    operations = [ForceRowSecurity(["IngestionJob", "IdempotencyKey"])]
