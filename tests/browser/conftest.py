"""The real product in a process of its own, and a real Chromium in front of it.

One product serves the whole run, with the demo organisations, the real embedder and a small language model
(``TESSERA_TEST_MODEL`` names another). Each test gets fresh browser contexts; none of them reaches anything but
the product: a request to any other host fails the test.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Request, sync_playwright

from tests.job_rows import statuses

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "a-demo-password-of-the-tests"
PATIENCE_MS = 60_000
READY_WITHIN_S = 240
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]


@dataclass(frozen=True)
class Product:
    """A running Tessera, by its address. ``environment``: of its process, where it was started here."""

    url: str
    environment: dict[str, str] = field(default_factory=dict)

    def __truediv__(self, path: str) -> str:
        return f"{self.url}/{path}"


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """``manage.py serve --demo`` on a free port with a state of its own; ready when it is handed over.

    ``TESSERA_TEST_URL`` names one that already runs (with ``DEMO_PASSWORD`` as below), for quick work on a page.
    """
    if url := os.environ.get("TESSERA_TEST_URL"):
        yield Product(url)
        return
    var = tmp_path_factory.mktemp("product")
    port = _free_port()
    environment = {
        **os.environ,
        "TESSERA_VAR_DIR": str(var),
        "TESSERA_LOAD_MODELS": "true",
        "TESSERA_MODEL": os.environ.get("TESSERA_TEST_MODEL", "smollm2-135m-instruct"),
        "TESSERA_MODEL_FORMAT": "int8" if "TESSERA_TEST_MODEL" in os.environ else "fp32",
        "TESSERA_MAX_ANSWER_TOKENS": "64",
        "DEMO_PASSWORD": PASSWORD,
    }
    log = var / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "serve", "--port", str(port), "--demo"],
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        running = Product(f"http://127.0.0.1:{port}", environment)
        _wait_until_ready(running, process, log)
        _wait_until_read(var)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_until_ready(product: Product, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + READY_WITHIN_S
    last = ""
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(product / "readyz", timeout=5) as answer:
                if json.load(answer)["state"] == "ready":
                    return
        except urllib.error.HTTPError as error:
            last = error.read().decode()
            error.close()
        except OSError as error:
            last = str(error)
        time.sleep(0.5)
    pytest.fail(f"The product is not ready: {last}\n{log.read_text(errors='replace')[-4000:]}")


def _wait_until_read(var: Path) -> None:
    """The models may be there before the demo documents are."""
    until = time.monotonic() + READY_WITHIN_S
    while set(found := statuses(var)) != {"ready"}:
        if time.monotonic() > until:
            pytest.fail(f"The demo documents are not ready: {found}")
        time.sleep(0.2)


@pytest.fixture(scope="session")
def _playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(_playwright: Playwright) -> Iterator[Browser]:
    path = os.environ.get("TESSERA_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    browser = _playwright.chromium.launch(executable_path=path, args=CHROMIUM_ARGS)
    yield browser
    browser.close()


OpenBrowser = Callable[..., Page]


@pytest.fixture
def open_browser(chromium: Browser, product: Product) -> Iterator[OpenBrowser]:
    """``open_browser(dark=False, scripts=True, width=1280)`` is the page of a fresh browser.

    At the end the test fails if any page asked another host for anything, or if a script threw or was blocked.
    """
    contexts: list[BrowserContext] = []
    outside: list[str] = []
    problems: list[str] = []

    def look(request: Request) -> None:
        if not request.url.startswith((f"{product.url}/", "data:", "blob:")):
            outside.append(request.url)

    def make(*, dark: bool = False, scripts: bool = True, width: int = 1280) -> Page:
        context = chromium.new_context(
            base_url=product.url,
            color_scheme="dark" if dark else "light",
            java_script_enabled=scripts,
            viewport={"width": width, "height": 860},
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        context.on("request", look)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console", lambda message: problems.append(message.text) if _is_violation(message.text) else None
        )
        return page

    yield make
    for context in contexts:
        context.close()
    assert outside == []
    assert problems == []


def _is_violation(text: str) -> bool:
    return "Content Security Policy" in text or "Content-Security-Policy" in text


def sign_in(page: Page, name: str) -> None:
    """Signs ``name`` in and waits for the search page."""
    page.goto("/accounts/login/")
    page.get_by_label("User name or e-mail address").fill(name)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/o/*/")


def upload(page: Page, *files: Path) -> None:
    """Uploads on alice's page of documents and waits until every file is ready, without reloading."""
    page.goto("/o/acme/documents/")
    page.set_input_files('input[name="file"][multiple]', [str(file) for file in files])
    for file in files:
        row = page.locator(".document-row", has_text=file.name)
        row.locator(".badge.ready").wait_for()


def ask(page: Page, question: str) -> None:
    """Asks on the search page and waits for the end of the answer."""
    page.goto("/o/acme/")
    page.locator("#q").fill(question)
    page.locator("#q").press("Enter")
    page.wait_for_url("**q=**")
    page.locator('[data-answer][data-state="answered"], [data-answer][data-state="not_found"]').wait_for()


@pytest.fixture(scope="session")
def manual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PDF of two pages made here, whose second page answers one question."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    path = tmp_path_factory.mktemp("files") / "ferry-manual.pdf"
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setTitle("Ferry manual")
    canvas.setFont("Helvetica", 12)
    canvas.drawString(72, 760, "This manual describes the ferry between the two harbours.")
    canvas.showPage()
    canvas.setFont("Helvetica", 12)
    canvas.drawString(72, 640, "The ferry to Norrsund island departs from pier seven at six in the morning.")
    canvas.drawString(72, 620, "Bicycles travel free of charge on every crossing.")
    canvas.showPage()
    canvas.save()
    return path


@pytest.fixture(scope="session")
def letter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Word document made here."""
    from docx import Document

    path = tmp_path_factory.mktemp("files") / "harbour-letter.docx"
    document = Document()
    document.add_heading("Letter of the harbour master", 1)
    document.add_paragraph("The lighthouse keeper of Norrsund is called Ingrid Halvorsen.")
    document.save(str(path))
    return path


@pytest.fixture(scope="session")
def operator(product: Product) -> str:
    """An operator's name."""
    if product.environment:
        subprocess.run(
            [
                sys.executable,
                "manage.py",
                "createsuperuser",
                "--noinput",
                "--username",
                "olga",
                "--email",
                "",
            ],
            cwd=ROOT,
            env={**product.environment, "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
            check=True,
            capture_output=True,
        )
    return "olga"
