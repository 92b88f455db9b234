"""T20: a file is stored under a generated key; the name it was given is only ever shown, cleaned."""

from __future__ import annotations

import re

import pytest

from ingestion.display_name import LONGEST_NAME, display_name
from search.models import DocumentVersion
from tenants.models import Organization
from tenants.scope import tenant_scope
from tests.ingestion.corpus_of_acme import upload

NAMES = {
    "../../etc/passwd": "passwd",
    "/etc/cron.d/evil": "evil",
    "C:\\Windows\\system32\\evil.txt": "evil.txt",
    "re\x00port.pdf": "re port.pdf",
    "invoice\u202efdp.exe": "invoicefdp.exe",
    "two\r\nSet-Cookie: x=1": "two Set-Cookie: x=1",
    "line\u2028break.txt": "line break.txt",
    "zero\u200bwidth.txt": "zerowidth.txt",
    "CON": "CON",
    "": "Untitled",
    "..": "Untitled",
    "\x00\x01": "Untitled",
    "Übersicht 2024 (final).docx": "Übersicht 2024 (final).docx",
}


@pytest.mark.parametrize("given", NAMES)
def test_a_name_is_cleaned_for_display(given: str) -> None:
    assert display_name(given) == NAMES[given]


def test_a_long_name_is_cut_and_keeps_its_ending() -> None:
    shown = display_name("a" * 300 + ".pdf")
    assert len(shown) <= LONGEST_NAME
    assert shown.endswith("….pdf")


@pytest.mark.django_db
@pytest.mark.parametrize("given", ["../../x.txt", "a\x00b.txt", "b" * 300 + ".txt", "\u202etxt.exe.txt"])
def test_the_key_of_a_file_owes_nothing_to_its_name(acme: Organization, given: str) -> None:
    document = upload(acme, given, given.encode() + b" is my name")
    with tenant_scope(acme):
        key = DocumentVersion.objects.get(document=document).file
    assert re.fullmatch(rf"{acme.pk}/[0-9a-f]{{32}}", key)
    assert document.filename == display_name(given)
