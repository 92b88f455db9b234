"""The operator's pages renew themselves, with scripts and without, break no rule of axe and fit a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PASSWORD, PATIENCE_MS, OpenBrowser
from tests.browser.test_pages_pass_axe import violations

pytestmark = pytest.mark.browser


def open_engine(page: Page, operator: str) -> None:
    page.goto("/admin/engine/")
    page.get_by_label("User name or e-mail address").fill(operator)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/admin/engine/")


def wait_for_news(page: Page) -> None:
    """Until the page shows another time than now."""
    shown = page.locator(".live-mark").inner_text()
    page.locator(".live-mark").filter(has_not_text=shown).wait_for(timeout=PATIENCE_MS)


def test_it_renews_itself_without_loading_anew(open_browser: OpenBrowser, operator: str) -> None:
    page = open_browser()
    open_engine(page, operator)
    page.evaluate("window.sameDocument = true")
    wait_for_news(page)
    assert page.evaluate("window.sameDocument") is True


def test_it_renews_itself_without_scripts(open_browser: OpenBrowser, operator: str) -> None:
    page = open_browser(scripts=False)
    open_engine(page, operator)
    wait_for_news(page)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_breaks_no_rule_of_axe_and_fits_a_phone(
    open_browser: OpenBrowser, operator: str, dark: bool
) -> None:
    for width in (1280, 360):
        page = open_browser(dark=dark, width=width)
        open_engine(page, operator)
        for address in ("/admin/engine/", "/admin/queue/", "/admin/evaluations/"):
            page.goto(address)
            assert violations(page) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
