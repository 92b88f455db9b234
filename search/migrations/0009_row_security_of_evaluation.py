"""Forces PostgreSQL's row security on evaluations and feedback."""

from __future__ import annotations

from django.db import migrations

from tenants.row_security import ForceRowSecurity


class Migration(migrations.Migration):
    dependencies = [("search", "0008_evaluation_and_feedback"), ("tenants", "0002_internal_organizations")]
    operations = [
        ForceRowSecurity(
            ["EvaluationCorpus", "EvaluationQuestion", "EvaluationRun", "EvaluationResult", "Feedback"]
        )
    ]
