"""Another organisation's files appear nowhere: not in the list, the results, the answer or by address."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import OpenBrowser, sign_in, upload

pytestmark = pytest.mark.browser


@pytest.mark.timeout(600)
def test_lists_results_answers_and_addresses_hold_nothing_of_acme(
    open_browser: OpenBrowser, letter: Path
) -> None:
    alice = open_browser()
    sign_in(alice, "alice")
    upload(alice, letter)
    link = alice.locator("a.title", has_text=letter.name).first.get_attribute("href")
    assert link is not None

    charlie = open_browser()
    sign_in(charlie, "charlie")
    charlie.goto("/o/globex/documents/")
    assert charlie.locator(".document-row").count() > 0
    assert charlie.get_by_text(letter.name).count() == 0
    charlie.goto("/o/globex/")
    charlie.locator("#q").fill("Who is the lighthouse keeper of Norrsund?")
    charlie.locator("#q").press("Enter")
    charlie.locator('[data-answer][data-state="answered"], [data-answer][data-state="not_found"]').wait_for()
    assert "Halvorsen" not in charlie.content()
    assert letter.name not in charlie.content()
    for address in (link, "/o/acme/", "/o/acme/documents/", link.replace("/acme/", "/globex/")):
        response = charlie.goto(address)
        assert response is not None
        assert response.status == 404, address
        assert letter.name not in charlie.content()


def test_the_own_organisation_answers_charlie(open_browser: OpenBrowser) -> None:
    """The test above sees an empty result only because of the wall: the same path finds globex's own files."""
    charlie = open_browser()
    sign_in(charlie, "charlie")
    charlie.goto("/o/globex/?q=pension+plan")
    assert charlie.locator("a.result-title").count() > 0
