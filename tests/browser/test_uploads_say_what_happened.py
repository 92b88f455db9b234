"""Each file has a row that tells its end: a refusal and a failure come with the reason and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import OpenBrowser, sign_in, upload

pytestmark = pytest.mark.browser


@pytest.mark.timeout(600)
def test_one_bad_file_of_three_fails_alone(open_browser: OpenBrowser, tmp_path: Path) -> None:
    good = tmp_path / "good-notes.txt"
    good.write_text("The gate of the harbour closes at nine.", encoding="utf-8")
    empty = tmp_path / "empty-notes.txt"
    empty.touch()
    damaged = tmp_path / "damaged-scan.pdf"
    damaged.write_bytes(b"%PDF-1.7\nnothing that a reader knows\n")
    page = open_browser()
    sign_in(page, "alice")
    page.goto("/o/acme/documents/")
    page.set_input_files('input[name="file"][multiple]', [str(f) for f in (good, empty, damaged)])

    page.locator(".document-row", has_text=good.name).locator(".badge.ready").wait_for()
    for bad, reason in ((empty, "empty"), (damaged, "")):
        row = page.locator(".document-row", has_text=bad.name)
        row.locator(".badge.failed").wait_for()
        detail = row.locator(".detail").inner_text()
        assert reason in detail
        assert len(detail) > 20, "the reason is a sentence"


@pytest.mark.timeout(600)
def test_a_document_is_replaced_and_deleted_in_its_row(open_browser: OpenBrowser, tmp_path: Path) -> None:
    first = tmp_path / "tide-table.txt"
    first.write_text("High water at Norrsund is at four in the afternoon.", encoding="utf-8")
    page = open_browser()
    sign_in(page, "alice")
    upload(page, first)
    first.write_text("High water at Norrsund is at eleven in the evening.", encoding="utf-8")
    row = page.locator(".document-row", has_text=first.name)
    row.locator('[data-replace] input[type="file"]').set_input_files(str(first))
    page.locator("[data-uploading]").wait_for(state="detached")
    row.locator(".badge.ready").wait_for()
    row.locator("a.title").click()
    assert "eleven in the evening" in page.locator(".page-text").inner_text()

    page.goto("/o/acme/documents/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name=f"Delete {first.name}").click()
    page.locator(".document-row", has_text=first.name).wait_for(state="detached")
    page.reload()
    assert page.get_by_text(first.name).count() == 0


def test_a_member_can_read_and_not_change(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "bob")
    page.goto("/o/acme/documents/")
    assert page.locator(".document-row").count() > 0
    assert page.locator('input[type="file"]').count() == 0
    assert page.locator(".row-actions button").count() == 0
