"""The keys of the search page, and that typing in the box is never taken for one of them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenBrowser, sign_in

pytestmark = pytest.mark.browser


@pytest.fixture
def keyboard_page(open_browser: OpenBrowser) -> Page:
    page = open_browser()
    sign_in(page, "alice")
    page.goto("/o/acme/?q=maintenance")
    page.locator("[data-result]").nth(1).wait_for()
    return page


def _active(page: Page) -> int:
    index: int = page.evaluate(
        "[...document.querySelectorAll('[data-result]')].findIndex(r => r.contains(document.activeElement))"
    )
    return index


def test_slash_goes_to_the_box_and_j_and_k_over_the_results(keyboard_page: Page) -> None:
    page = keyboard_page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("jk?")
    assert page.locator("#q").input_value().endswith("jk?")
    page.keyboard.press("Escape")
    for key, expected in (("j", 0), ("j", 1), ("k", 0), ("k", 0)):
        page.keyboard.press(key)
        assert _active(page) == expected
    assert page.locator("[data-result].active").count() == 1


@pytest.mark.parametrize("key", ["o", "Enter"])
def test_o_and_enter_open_the_result(keyboard_page: Page, key: str) -> None:
    page = keyboard_page
    page.keyboard.press("j")
    page.keyboard.press("j")
    wanted = page.locator("a.result-title").nth(1).get_attribute("href")
    page.keyboard.press(key)
    page.wait_for_url(f"**{wanted}")


def test_the_question_mark_shows_the_keys_and_escape_hides_them(keyboard_page: Page) -> None:
    page = keyboard_page
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_visible()
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog", name="Keyboard shortcuts").is_hidden()
