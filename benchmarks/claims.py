"""What a claim costs, by the length of the queue: milliseconds a claim, median and 95th percentile.

    python -m benchmarks.claims --jobs 10000 100000 [--organizations 1000]

One organisation has all the jobs but one each of the others. Without ``TESSERA_DATABASE_URL`` on SQLite in a temporary
folder; with it on that PostgreSQL database, which must be empty and is left full. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.product import machine

CLAIMS = 200


def measure(jobs_in_all: list[int], organizations: int) -> list[dict[str, Any]]:
    """Lengthens the queue step by step, and claims and hands in :data:`CLAIMS` jobs at each length."""
    from tenants.models import Organization
    from tests.ingestion.long_queues import queue_files

    long = Organization.objects.create(slug="long", name="Long")
    for number in range(organizations - 1):
        other = Organization.objects.create(slug=f"other-{number}", name="Other")
        queue_files(other, 1)
    rows, queued = [], 0
    for wanted in sorted(jobs_in_all):
        queue_files(long, wanted - queued)
        queued = wanted
        rows.append({"queued": wanted, "organizations": organizations, **_claims()})
    return rows


def _claims() -> dict[str, float]:
    from ingestion import jobs

    took = []
    for _ in range(CLAIMS):
        start = time.perf_counter()
        lease = jobs.claim()
        took.append(1000 * (time.perf_counter() - start))
        assert lease is not None
        lease.put_back()
    took.sort()
    return {
        "ms_median": round(statistics.median(took), 2),
        "ms_p95": round(took[int(0.95 * len(took))], 2),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--jobs", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--organizations", type=int, default=2)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"TESSERA_VAR_DIR": folder, "TESSERA_LOAD_MODELS": "false"}
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
        import django
        from django.core.management import call_command
        from django.db import connection

        django.setup()
        call_command("migrate", verbosity=0)
        rows = measure(chosen.jobs, chosen.organizations)
        result = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "database": connection.vendor,
            "claims": rows,
        }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
