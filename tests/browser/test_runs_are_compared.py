"""From the operator's list of suites to the questions that changed between two runs; no page on the way breaks a rule of axe or
is wider than a phone, and an organisation's own comparison is no other."""

from __future__ import annotations

import subprocess
import sys

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import ROOT, OpenBrowser, Product, sign_in
from tests.browser.test_pages_pass_axe import violations
from tests.browser.test_the_operator_watches_the_engine import open_engine

pytestmark = pytest.mark.browser
SUITE = "evaluation-two-cities"
MAKE = f"""
from tenants.models import Organization
from tests.search.evaluation.rows import REFUSED, UNCITED, WRONG, add_run
suite, _ = Organization.objects.get_or_create(slug="{SUITE}", defaults={{"name": "Evaluation: two-cities", "is_internal": True}})
for home in (suite, Organization.objects.get(slug="acme")):
    for n, rows in enumerate(([WRONG, REFUSED, {{}}, UNCITED], [{{}}, {{}}, WRONG, {{}}])):
        metrics = {{"questions": 4, "token_f1": 0.5 + n / 5, "balanced_accuracy": 0.6, "citation_recall": 0.9 - n / 10}}
        made = {{"settings": {{"min_similarity": f"0.{{n}}"}}, "code": "abc"}}
        add_run(home, *rows, metrics=metrics, configuration=made, model="a-small-model")
"""


@pytest.fixture(scope="module")
def runs(product: Product) -> None:
    """Two runs of a public suite and of acme's own questions."""
    if product.environment:
        subprocess.run(
            [sys.executable, "manage.py", "shell", "-c", MAKE],
            cwd=ROOT, env=product.environment, check=True, capture_output=True,
        )  # fmt: skip


def _is_well(page: Page, width: int) -> None:
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360], ids=["desk", "phone"])
def test_the_operator_comes_from_a_suite_to_the_questions_that_changed(
    open_browser: OpenBrowser, operator: str, runs: None, dark: bool, width: int
) -> None:
    page = open_browser(dark=dark, width=width)
    open_engine(page, operator)
    page.locator("details.menu > summary").last.click()
    page.get_by_role("link", name="Evaluations").click()
    _is_well(page, width)
    page.get_by_role("link", name="two-cities").click()
    _is_well(page, width)
    page.get_by_role("link", name="Compare runs").click()
    page.get_by_role("heading", name="Better (2)").wait_for()
    page.get_by_role("heading", name="Worse (1)").wait_for()
    _is_well(page, width)
    page.get_by_role("link", name="Sentences cited").click()
    page.get_by_role("link", name="After: answered").first.click()
    page.get_by_role("heading", name="Passages found").wait_for()
    _is_well(page, width)
    page.get_by_role("link", name="Run of").click()
    page.get_by_role("link", name="Wrong (1)").click()
    page.get_by_role("link", name="Question 3?").wait_for()
    _is_well(page, width)


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_an_administrator_chooses_two_runs(open_browser: OpenBrowser, runs: None, scripts: bool) -> None:
    page = open_browser(scripts=scripts, width=360)
    sign_in(page, "alice")
    page.goto("/o/acme/evaluation/compare")
    newest = page.get_by_label("After").input_value()
    older = page.get_by_label("Before").input_value()
    page.get_by_label("Before").select_option(newest)
    page.get_by_label("After").select_option(older)
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Better (1)").wait_for()
    page.get_by_role("heading", name="Worse (2)").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    if scripts:
        assert violations(page) == []
