"""What the sources disagree on stands below an answer as soon as it is complete, as text and with links to both places."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Route

from tests.browser.conftest import OpenBrowser, sign_in

pytestmark = pytest.mark.browser


def side(value: str, title: str, dated: str | None, document: str) -> dict[str, Any]:
    return {
        "value": value, "title": title, "dated": dated, "added": "2026-11-30", "place": "page 2", "page": 2, "n": 1,
        "start": 3, "end": 9, "version_id": "v", "document_id": document, "quote": f"They have {value}.",
    }  # fmt: skip


DONE = {
    "status": "answered", "answer": "They have 30 days [1].", "html": "<p>They have 30 days.</p>", "citations": [],
    "nearest": [], "unsupported": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "model": "m",
    "conflicts": [
        {"places": [side("30 days", "Handbook", "2025-01-01", "one"), side("25 days", "<img src=x onerror=alert(1)>", None, "two")]}
    ],
}  # fmt: skip


def frames() -> str:
    events = [("sources", {"sources": []}), ("answer.delta", {"text": "They"}), ("answer.completed", DONE)]
    return "".join(
        f"id: {n}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for n, (name, data) in enumerate(events, 1)
    )


def completed(route: Route) -> None:
    route.fulfill(status=200, content_type="text/event-stream", body=frames())


@pytest.mark.timeout(600)
def test_both_values_stand_there_with_place_and_day(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    page.route("**/events", completed)
    page.goto("/o/acme/?q=How+many+days+of+vacation+are+there%3F")
    page.locator('[data-answer][data-state="answered"]').wait_for()
    shown = page.locator("[data-conflicts]")
    assert shown.is_visible()
    assert " ".join(shown.inner_text().split()) == (
        "The sources disagree Handbook says 30 days (page 2, dated 2025-01-01), "
        "<img src=x onerror=alert(1)> says 25 days (page 2, added 2026-11-30)."
    )
    assert shown.locator("img").count() == 0
    addresses = [link.get_attribute("href") for link in shown.locator("a").all()]
    assert addresses == [
        f"/o/acme/documents/{name}/?page=2&start=3&end=9&version=v" for name in ("one", "two")
    ]
