"""Stop ends the writing at once and keeps what was written; Regenerate writes it anew; a follow-up goes on."""

from __future__ import annotations

import pytest

from tests.browser.conftest import OpenBrowser, ask, sign_in

pytestmark = pytest.mark.browser

ENDED = '[data-answer][data-state="answered"], [data-answer][data-state="not_found"]'


WHEN_ASKED = """
const Plain = EventSource;
window.EventSource = class extends Plain {
  constructor(...given) {
    super(...given);
    window.EventSource = Plain;
    ACT
  }
};
"""
"""Acts once the answer's events are asked for: it may be over before a browser test can look."""


@pytest.mark.timeout(600)
def test_stop_then_regenerate(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    page.add_init_script(
        WHEN_ASKED.replace("ACT", "setTimeout(() => document.querySelector('[data-stop]').click());")
    )
    page.goto("/o/acme/?q=How+often+does+the+R7+need+maintenance%3F")
    page.locator('[data-answer][data-state="stopped"]').wait_for()
    assert page.locator("[data-status]").inner_text() == "Stopped"
    page.get_by_role("button", name="Regenerate").click()
    page.locator(ENDED).wait_for()
    assert page.locator("[data-text]").inner_text().strip() != ""


@pytest.mark.timeout(600)
def test_a_page_that_the_browser_brings_back_goes_on_with_its_answer(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    events = """window.met = 0;
    this.addEventListener("answer.delta", () => {
      window.met += 1;
      for (const name of ["pagehide", "pageshow"]) {
        dispatchEvent(new PageTransitionEvent(name, { persisted: true }));
      }
    }, { once: true });"""
    page.add_init_script(WHEN_ASKED.replace("ACT", events))
    page.goto("/o/acme/?q=How+often+does+the+R7+need+maintenance%3F")
    page.locator(ENDED).wait_for()
    assert page.evaluate("window.met") == 1
    assert page.locator("[data-text]").inner_text().strip() != ""


@pytest.mark.timeout(600)
def test_a_source_leads_to_the_version_that_was_cited(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    ask(page, "How often does the R7 need maintenance?")
    streamed = page.locator("[data-sources] a.source").first.get_attribute("href")
    assert "version=" in (streamed or "")
    page.reload()
    assert page.locator("[data-sources] a.source").first.get_attribute("href") == streamed


@pytest.mark.timeout(600)
def test_a_follow_up_joins_the_conversation(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    ask(page, "How often does the R7 need maintenance?")
    page.get_by_label("Follow-up question").fill("And who may travel by train?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_url("**q=And+who**")
    page.locator(ENDED).wait_for()
    page.get_by_role("link", name="Conversations").click()
    page.locator("a.list-row").first.click()
    assert page.locator(".turn > h2").all_inner_texts() == [
        "How often does the R7 need maintenance?",
        "And who may travel by train?",
    ]


@pytest.mark.timeout(600)
def test_a_question_without_an_answer_shows_the_nearest_passages(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    ask(page, "Which composer wrote the opera about Orpheus in Mantua in 1607?")
    assert page.locator("[data-answer]").get_attribute("data-state") == "not_found"
    assert "not in your documents" in page.locator("[data-text]").inner_text()
    assert page.locator("[data-sources] h3").inner_text() == "Nearest passages"
    assert page.locator("[data-sources] a.source").count() > 0


def test_an_error_can_be_tried_again(open_browser: OpenBrowser) -> None:
    page = open_browser()
    sign_in(page, "alice")
    page.route(
        "**/o/acme/ask",
        lambda route: route.fulfill(
            status=503, content_type="application/json", body='{"error": {"message": "The queue is full."}}'
        ),
    )
    page.goto("/o/acme/?q=maintenance")
    page.get_by_text("The queue is full.").wait_for()
    page.unroute("**/o/acme/ask")
    page.get_by_role("button", name="Try again").click()
    page.locator(ENDED).wait_for()
