"""How whole each organisation's index was when it was counted last."""

from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models

from tenants.row_security import ForceRowSecurity


class Migration(migrations.Migration):

    dependencies = [
        ('ingestion', '0003_fair_queue'),
        ('tenants', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='IndexCount',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('points', models.IntegerField()),
                ('rows', models.IntegerField()),
                ('counted_at', models.DateTimeField()),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='tenants.organization')),
            ],
            options={
                'abstract': False,
                'base_manager_name': 'objects',
                'constraints': [models.UniqueConstraint(fields=('organization',), name='index_count_once')],
            },
        ),
        ForceRowSecurity(["IndexCount"]),
    ]
