"""Alice uploads, watches, asks, reads, and follows a citation to the highlighted place on the page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import OpenBrowser, sign_in, upload

pytestmark = pytest.mark.browser

MULTICOLUMN = Path(__file__).resolve().parents[3] / "shared" / "eval" / "files" / "multicolumn.pdf"
WATCH = """
window.lengths = [];
new MutationObserver(() => {
  const text = document.querySelector("[data-text].streaming");
  if (text && text.innerText.length !== window.lengths.at(-1)) window.lengths.push(text.innerText.length);
}).observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
"""
"""Notes how an answer grows, which may be over before a browser test can look."""
QUESTION = "When does the ferry to Norrsund island depart from pier seven?"


@pytest.mark.timeout(600)
def test_from_the_file_to_the_highlighted_passage(
    open_browser: OpenBrowser, manual: Path, letter: Path
) -> None:
    page = open_browser()
    sign_in(page, "alice")
    upload(page, manual, letter, *([MULTICOLUMN] if MULTICOLUMN.exists() else []))

    page.get_by_role("link", name="Search", exact=True).click()
    page.add_init_script(WATCH)
    page.locator("#q").fill(QUESTION)
    page.locator("#q").press("Enter")
    page.locator('[data-answer][data-state="answered"]').wait_for()

    lengths = page.evaluate("window.lengths")
    assert len(lengths) > 3, "the answer came piece by piece"
    assert lengths == sorted(lengths)
    assert page.locator("[data-text] p").count() > 0, "the finished answer is the server's HTML"
    assert "pier seven" in page.locator(".results > li").first.inner_text()
    source = page.locator("[data-sources] a.source", has_text="Ferry manual").first
    quote = source.locator(".quote").inner_text()
    citation = page.locator("[data-text] a.citation").first
    assert citation.get_attribute("href") in [
        link.get_attribute("href") for link in page.locator("[data-sources] a.source").all()
    ]
    source.click()

    page.wait_for_url("**/documents/*/?page=2&start=*")
    shown = " ".join(page.locator(".quote-card").inner_text().split())
    assert " ".join(quote.split()) in shown
    image = page.locator("img.page-image")
    assert image.evaluate("async image => { await image.decode(); return image.naturalWidth }") > 300
    frame, box = image.bounding_box(), page.locator(".page-frame .box").first.bounding_box()
    assert frame is not None
    assert box is not None
    assert box["width"] > 20
    assert box["height"] > 4
    assert frame["x"] <= box["x"]
    assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
    # The passage stands 640 points above the bottom of a page of 842: in its upper third.
    assert 0.15 < (box["y"] - frame["y"]) / frame["height"] < 0.35


@pytest.mark.timeout(600)
def test_a_reload_shows_the_same_answer_and_asks_nothing(open_browser: OpenBrowser, manual: Path) -> None:
    page = open_browser()
    sign_in(page, "alice")
    upload(page, manual)
    page.goto("/o/acme/?q=Do+bicycles+travel+free+on+the+ferry%3F")
    page.locator('[data-answer][data-state="answered"], [data-answer][data-state="not_found"]').wait_for()
    said = page.locator("[data-text]").inner_text()
    assert "turn=" in page.url
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
    page.reload()
    page.wait_for_load_state("networkidle")
    assert page.locator("[data-text]").inner_text() == said
    assert asked == []


@pytest.mark.timeout(600)
def test_the_text_of_a_word_file_is_marked(open_browser: OpenBrowser, letter: Path) -> None:
    page = open_browser()
    sign_in(page, "alice")
    upload(page, letter)
    page.goto("/o/acme/?q=lighthouse+keeper+Ingrid+Halvorsen")
    page.locator("a.result-title", has_text="harbour-letter.docx").first.click()
    page.wait_for_url("**/documents/**")
    mark = page.locator("mark#passage")
    assert "Ingrid Halvorsen" in mark.inner_text()
    box = mark.bounding_box()
    assert box is not None
    assert 0 <= box["y"] < 860, "the passage is in view"
