"""The demo: two organisations that share nothing, so that the first minute shows the product and its walls.

Seeding twice changes nothing: accounts, keys and documents are found again.
"""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.uploadedfile import SimpleUploadedFile

from config.env import env
from config.kept_secret import kept_secret
from ingestion.uploads import accept_upload
from search.models import Document
from tenants.models import Membership, Organization, Role
from tenants.scope import tenant_scope

FILES = Path(__file__).resolve().parent / "demo"
ORGANIZATIONS = {"acme": "Acme Robotics", "globex": "Globex Energy"}
PEOPLE = (("alice", "acme", Role.OWNER), ("bob", "acme", Role.MEMBER), ("charlie", "globex", Role.OWNER))


def demo_password() -> str:
    """``DEMO_PASSWORD``, or a random one that is kept under var/."""
    if env().demo_password:
        return env().demo_password
    return kept_secret(settings.VAR / "demo_password", 9)


def seed() -> None:
    """Creates what is missing of the demo. Documents are queued; the worker makes them ready."""
    organizations = {
        slug: Organization.objects.get_or_create(slug=slug, defaults={"name": name})[0]
        for slug, name in ORGANIZATIONS.items()
    }
    users = get_user_model()
    for username, slug, role in PEOPLE:
        user, created = users.objects.get_or_create(
            username=username, defaults={"email": f"{username}@{slug}.example"}
        )
        if created or not user.check_password(demo_password()):
            user.set_password(demo_password())
            user.save()
        Membership.objects.get_or_create(organization=organizations[slug], user=user, defaults={"role": role})
    for slug, organization in organizations.items():
        owner = users.objects.get(username="alice" if slug == "acme" else "charlie")
        with tenant_scope(organization):
            if Document.objects.count():
                continue
        for file in sorted((FILES / slug).iterdir()):
            accept_upload(
                organization=organization,
                user=owner,
                name=file.name,
                stream=SimpleUploadedFile(file.name, file.read_bytes()),
            )
