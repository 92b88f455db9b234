"""No page breaks a rule of WCAG 2.2 A or AA that axe-core can check, in light and in dark, on a desk and on a phone.

axe-core comes from ``npm ci --prefix tests/browser``; ``TESSERA_AXE_JS`` names another copy.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import OpenBrowser, ask, sign_in, upload

pytestmark = pytest.mark.browser

AXE = Path(
    os.environ.get("TESSERA_AXE_JS") or Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Page) -> list[str]:
    """Each broken rule with the first elements that break it."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    report: dict[str, Any] = page.evaluate("rules => axe.run({runOnly: {type: 'tag', values: rules}})", RULES)
    assert report["passes"], "axe checked something"
    return [
        f"{page.url}: {found['id']}: {found['help']}: {[node['html'][:160] for node in found['nodes'][:3]]}"
        for found in report["violations"]
    ]


def _open_menus(page: Page) -> list[str]:
    found: list[str] = []
    for summary in page.locator("details.menu > summary").all():
        summary.click()
        found += violations(page)
        page.keyboard.press("Escape")
    page.keyboard.press("?")
    found += violations(page)
    page.keyboard.press("Escape")
    return found


@pytest.mark.timeout(900)
@pytest.mark.parametrize("width", [1280, 360], ids=["desk", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page(
    open_browser: OpenBrowser, manual: Path, letter: Path, tmp_path: Path, dark: bool, width: int
) -> None:
    page = open_browser(dark=dark, width=width)
    found: list[str] = []

    page.goto("/accounts/login/")
    found += violations(page)
    page.get_by_role("link", name="Forgot your password?").click()
    found += violations(page)
    sign_in(page, "alice")
    found += violations(page)
    if width > 1000:
        found += _open_menus(page)

    upload(page, manual, letter)
    broken = tmp_path / f"broken-{dark}-{width}.pdf"
    broken.write_bytes(b"%PDF-1.7\n" + os.urandom(64))
    page.set_input_files('input[name="file"][multiple]', str(broken))
    page.locator(".document-row", has_text=broken.name).locator(".badge.failed").wait_for()
    found += violations(page)

    ask(page, "When does the ferry to Norrsund island depart from pier seven?")
    found += violations(page)
    page.locator("a.result-title", has_text="Ferry manual").first.click()
    page.locator(".page-frame .box").first.wait_for()
    found += violations(page)
    page.goto("/o/acme/?q=lighthouse+keeper+Ingrid+Halvorsen")
    page.locator("a.result-title", has_text=letter.name).first.click()
    page.locator("mark#passage").wait_for()
    found += violations(page)

    for address in (
        "/o/acme/conversations/",
        "/o/acme/settings/",
        "/o/acme/evaluation/",
        "/o/acme/evaluation/questions/",
        "/o/acme/feedback/",
        "/o/acme/nothing-here/",
    ):
        page.goto(address)
        found += violations(page)
    page.goto("/o/acme/conversations/")
    page.locator("a.list-row").first.click()
    page.wait_for_url("**/conversations/*/")
    found += violations(page)
    assert found == []
