"""With JavaScript off: search, filter, ask by the button, follow the citation, upload and sign out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import OpenBrowser, sign_in

pytestmark = pytest.mark.browser


@pytest.mark.timeout(600)
def test_the_answer_comes_with_a_button(open_browser: OpenBrowser, manual: Path) -> None:
    page = open_browser(scripts=False)
    sign_in(page, "alice")

    page.goto("/o/acme/documents/")
    page.set_input_files("#file", str(manual))
    page.get_by_role("button", name="Upload", exact=True).click()
    row = page.locator(".document-row", has_text=manual.name)
    for _ in range(60):
        if row.locator(".badge.ready").count():
            break
        page.wait_for_timeout(1000)
        page.reload()
    assert row.locator(".badge.ready").count() == 1

    page.goto("/o/acme/")
    page.locator("#q").fill("When does the ferry to Norrsund island depart from pier seven?")
    page.get_by_role("button", name="Search").click()
    assert page.locator("[data-text]").inner_text().strip() == "", "nothing is asked before the button"
    assert page.locator("a.result-title").count() > 0
    page.get_by_role("button", name="Write an answer").click()
    page.locator("[data-sources] a.source", has_text="Ferry manual").first.click()
    assert page.locator(".page-frame .box").count() > 0


def test_a_filter_is_part_of_the_address(open_browser: OpenBrowser) -> None:
    page = open_browser(scripts=False)
    sign_in(page, "alice")
    page.goto("/o/acme/?q=maintenance")
    page.get_by_label("PowerPoint").check()
    page.get_by_role("button", name="Apply filters").click()
    assert "type=" in page.url
    assert page.get_by_label("PowerPoint").is_checked()
    labels = page.locator(".results .file-type").all_inner_texts()
    assert labels
    assert {label.lower() for label in labels} == {"powerpoint"}


def test_signing_out_needs_no_script(open_browser: OpenBrowser) -> None:
    page = open_browser(scripts=False)
    sign_in(page, "alice")
    page.locator("summary", has=page.locator(".avatar")).click()
    page.get_by_role("button", name="Sign out").click()
    page.goto("/o/acme/")
    assert "/accounts/login/" in page.url
