"""Classes, shares and times of jobs, with the indexes that a claim steps down."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

from tenants.row_security import ForceRowSecurity

JOBS = "ingestion_ingestionjob"


class Migration(migrations.Migration):
    dependencies = [
        ('ingestion', '0002_row_security'),
        ('search', '0004_an_answer_names_its_model'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='QueueShare',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('service', models.FloatField(default=0.0)),
                ('begun', models.FloatField(default=0.0)),
            ],
            options={
                'abstract': False,
                'base_manager_name': 'objects',
            },
        ),
        migrations.RemoveIndex(
            model_name='ingestionjob',
            name='ingestion_i_status_41bd08_idx',
        ),
        migrations.AddField(
            model_name='ingestionjob',
            name='ended_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='ingestionjob',
            name='stage_since',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='ingestionjob',
            name='started_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AlterField(
            model_name='ingestionjob',
            name='priority',
            field=models.IntegerField(choices=[(0, 'Bulk'), (1, 'Single')], default=1),
        ),
        migrations.RunSQL(f"UPDATE {JOBS} SET priority = 1", migrations.RunSQL.noop),
        migrations.RunSQL(
            f"UPDATE {JOBS} SET ended_at = updated_at WHERE status IN ('ready', 'failed', 'cancelled')",
            migrations.RunSQL.noop,
        ),
        migrations.AddIndex(
            model_name='idempotencykey',
            index=models.Index(fields=['created_at'], name='idempotency_key_age'),
        ),
        migrations.AddIndex(
            model_name='ingestionjob',
            index=models.Index(fields=['organization', 'status', 'priority', 'created_at', 'id', 'not_before'], name='job_head'),
        ),
        migrations.AddIndex(
            model_name='ingestionjob',
            index=models.Index(fields=['status', 'not_before'], name='job_due'),
        ),
        migrations.AddIndex(
            model_name='ingestionjob',
            index=models.Index(fields=['status', 'ended_at'], name='job_ended'),
        ),
        migrations.AddIndex(
            model_name='ingestionjob',
            index=models.Index(fields=['started_at'], name='job_begun'),
        ),
        migrations.AddConstraint(
            model_name='ingestionjob',
            constraint=models.CheckConstraint(condition=models.Q(('priority__in', [0, 1])), name='job_priority_known'),
        ),
        migrations.AddField(
            model_name='queueshare',
            name='organization',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.organization'),
        ),
        migrations.AddConstraint(
            model_name='queueshare',
            constraint=models.UniqueConstraint(fields=('organization',), name='queue_share_once'),
        ),
        ForceRowSecurity(["QueueShare"]),
    ]
