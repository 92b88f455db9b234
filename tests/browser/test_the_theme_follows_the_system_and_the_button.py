"""Light or dark as the system says, until the button says otherwise, and then for good."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenBrowser, sign_in

pytestmark = pytest.mark.browser


def _brightness(page: Page) -> float:
    """Mean of the page's background channels, 0 black to 255 white."""
    color: str = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [float(part) for part in color[color.index("(") + 1 : -1].replace(",", " ").split()[:3]]
    return sum(channels) / 3


def test_the_system_decides(open_browser: OpenBrowser) -> None:
    light, dark = open_browser(), open_browser(dark=True)
    for page in (light, dark):
        page.goto("/accounts/login/")
    assert _brightness(light) > 230
    assert _brightness(dark) < 40


def test_the_button_wins_and_is_remembered(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    page.get_by_role("button", name="Switch between light and dark").click()
    assert _brightness(page) < 40
    page.reload()
    assert _brightness(page) < 40
    page.get_by_role("button", name="Switch between light and dark").click()
    assert _brightness(page) > 230
