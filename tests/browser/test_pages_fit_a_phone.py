"""At 360 pixels nothing has to be scrolled sideways, and every part of the header stays in reach."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenBrowser, sign_in

pytestmark = pytest.mark.browser


def test_no_page_is_wider_than_the_screen(open_browser: OpenBrowser) -> None:
    page = open_browser(width=360)
    sign_in(page, "alice")
    for address in (
        "/o/acme/",
        "/o/acme/?q=maintenance",
        "/o/acme/documents/",
        "/o/acme/conversations/",
        "/o/acme/settings/",
        "/o/acme/evaluation/",
        "/o/acme/evaluation/questions/",
        "/o/acme/feedback/",
    ):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, address
        for link in page.locator(".nav a").all():
            box = link.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= 360, address
