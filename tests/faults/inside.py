"""What must be asked inside the product: ``python -m tests.faults.inside prepare`` or ``judge``.

``prepare`` makes the tables, the organisation acme and a key, and prints the key. ``judge`` prints as JSON what the
rows, the index and the storage hold; in the embedded layout no other process may run then.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from typing import Any

import django

CANARY = re.compile(r"kestrel[0-9a-f]{12}")


def main() -> None:
    django.setup()
    if sys.argv[1] == "prepare":
        print(prepare())
    else:
        print(json.dumps(judge()))


def prepare() -> str:
    from django.core.management import call_command

    from tenants.keys import create_key
    from tenants.models import Organization

    call_command("migrate", interactive=False, verbosity=0)
    acme = Organization.objects.create(slug="acme", name="Acme")
    _, text = create_key(organization=acme, name="faults", scopes=["read", "write"], created_by=None)
    return text


def judge() -> dict[str, Any]:
    """Documents by id with their state, the audit of the index, and the keys in rows and storage that differ, as they
    are an hour after the last upload: only then a file that no row names is known to be nobody's."""
    from django.utils import timezone

    from ingestion import files
    from search import corpus, reindex
    from search.index import close_all
    from search.models import Chunk, Document, DocumentVersion
    from tenants.models import Organization
    from tenants.scope import tenant_scope

    acme = Organization.objects.get(slug="acme")
    with tenant_scope(acme):
        documents: dict[str, dict[str, Any]] = {
            str(document.id): {
                "published": str(document.published_id) if document.published_id else None,
                "versions": [str(version.id) for version in document.versions.all()],
                "jobs": [(job.status, job.error_code) for job in document.jobs.all()],
                "canaries": [],
                "ordinals_in_order": True,
            }
            for document in Document.objects.prefetch_related("versions", "jobs")
        }
        passages: dict[str, list[int]] = {}
        for chunk in Chunk.objects.select_related("version").order_by("ordinal"):
            of = documents[str(chunk.version.document_id)]
            passages.setdefault(str(chunk.version_id), []).append(chunk.ordinal)
            of["canaries"] = sorted({*of["canaries"], *CANARY.findall(chunk.text)})
        for of in documents.values():
            found = passages.get(of["published"] or "", [])
            of["ordinals_in_order"] = found == list(range(len(found))) and bool(found)
        named = Counter(DocumentVersion.objects.values_list("file", flat=True))
    uploads_cut_off = files.remove_unnamed(now=timezone.now() + 2 * files.UNNAMED_AFTER)
    audit = reindex.audit(acme)
    stored = corpus.stored_files(acme)
    orphans = sorted(reindex.orphans())
    close_all()
    return {
        "documents": documents,
        "uploads_cut_off": uploads_cut_off,
        "points": audit.points,
        "rows": audit.rows,
        "missing": len(audit.missing),
        "changed": len(audit.changed),
        "leaked": len(audit.leaked),
        "unpublished": len(audit.unpublished),
        "orphaned_indexes": orphans,
        "files_without_row": sorted(stored - named.keys()),
        "rows_without_file": sorted(named.keys() - stored),
        "files_named_twice": sorted(key for key, count in named.items() if count > 1),
    }


if __name__ == "__main__":
    main()
