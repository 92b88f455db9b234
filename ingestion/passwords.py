"""The password of a protected file, from the request that brings it to the end of the job that needs it.

What always holds: it is written down encrypted only, under a key made of the server's secret and the job's id; a job
that has ended holds none (a constraint of its table says so); and it is never logged, shown or answered.
"""

from __future__ import annotations

import base64
import contextlib
import uuid
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from ingestion.models import IngestionJob
from tenants.models import Organization
from tenants.scope import tenant_scope

LONGEST: Final = 500


def sealed(password: str, *, job_id: uuid.UUID) -> str:
    """The password as the job's row keeps it; empty for none."""
    return _box(job_id).encrypt(password[:LONGEST].encode()).decode("ascii") if password else ""


def of_job(*, organization: Organization, job_id: uuid.UUID) -> str | None:
    """The password that was given for a job that has not ended; None without one, or under another secret key."""
    return opened(kept(organization=organization, job_ids=[job_id]).get(job_id, ""), job_id=job_id)


def kept(*, organization: Organization, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """What the rows of those jobs hold, sealed, by job; nothing for a job without a password."""
    with tenant_scope(organization):
        jobs = IngestionJob.objects.filter(id__in=job_ids).exclude(sealed_password="")
        return dict(jobs.values_list("id", "sealed_password"))


def opened(sealed_password: str, *, job_id: uuid.UUID) -> str | None:
    """The password in what the job's row holds; None for an empty one, or one sealed under another secret key."""
    with contextlib.suppress(InvalidToken):
        return _box(job_id).decrypt(sealed_password.encode("ascii")).decode() if sealed_password else None
    return None


def _box(job_id: uuid.UUID) -> Fernet:
    derivation = HKDF(SHA256(), length=32, salt=job_id.bytes, info=b"tessera: password of an ingestion job")
    return Fernet(base64.urlsafe_b64encode(derivation.derive(settings.SECRET_KEY.encode())))
