"""An answer's Markdown as HTML that can do nothing: rendered first, sanitised after.

What always holds: the only links are the citations' own anchors; no image, script, style, form or raw HTML
comes out; what looked like a link, an image or a tag is shown as the text that it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from search.marks import MARK
from search.sentences import Span

_TAGS_WORDS = """
p br strong em s code pre blockquote ul ol li h1 h2 h3 h4 h5 h6 table thead tbody tr th td hr a sup
"""
TAGS = frozenset(_TAGS_WORDS.split())
_PRIVATE = "\uf8ff"
"""A character of no script, which is taken out of an answer first."""
_FLAG = f"{{{_PRIVATE}}}"
"""Stands behind an unsupported sentence while Markdown is rendered; plain text ends at the bracket."""
_NO_PLACE = re.compile(r"\n[ \t>]*(?:`{3,}|~{3,}|=+|[-:| \t]*-[-:| \t]*)[ \t]*\Z")
"""A last line that would no longer be what it is with the flag behind it: the end of a fence, a rule of a table or title."""
_CLOSING_PIPE = re.compile(r"\|[ \t]*\Z")
_NO_SOURCE = '<sup class="unsupported" title="No passage of your documents says this.">no source</sup>'


def render(
    answer: str,
    links: Mapping[int, str],
    places: Mapping[int, str] | None = None,
    unsupported: Sequence[Span] = (),
) -> str:
    """Safe HTML of ``answer``. ``links`` maps a citation's number to its address on this site (starting with
    ``/``); a mark without an address stays text. ``places`` say what a pointer on the mark shows.
    ``unsupported`` are places in ``answer`` behind which stands that they have no source.
    """
    allowed = {
        n: href for n, href in links.items() if href.startswith("/") and not href.startswith(("//", "/\\"))
    }
    answer = _flagged(answer.replace(_PRIVATE, " "), unsupported)
    html = _markdown().render(answer, {"citations": allowed, "places": places or {}}).replace(_FLAG, "")
    hrefs = frozenset(allowed.values())

    def only_own_links(tag: str, attribute: str, value: str) -> str | None:
        if tag == "a" and attribute == "href":
            return value if value in hrefs else None
        return value

    return nh3.clean(
        html,
        tags=set(TAGS),
        attributes={"a": {"href", "data-n", "class", "title"}, "sup": {"class", "title"}},
        allowed_classes=None,
        attribute_filter=only_own_links,
        url_schemes=set(),
        link_rel=None,
        strip_comments=True,
    )


@cache
def _markdown() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "linkify": False, "typographer": False})
    parser.enable(["table", "strikethrough"])
    parser.disable(["link", "image", "autolink", "html_inline", "html_block", "reference", "entity"])
    parser.inline.ruler.before("emphasis", "citation", _citation)
    parser.add_render_rule("citation", _render_citation)
    parser.inline.ruler.before("text", "no_source", _no_source)
    parser.add_render_rule("no_source", lambda *_: _NO_SOURCE)
    return parser


def _flagged(answer: str, unsupported: Sequence[Span]) -> str:
    for start, end in sorted(unsupported, reverse=True):
        said = answer[start:end]
        while found := _NO_PLACE.search(said):
            said = said[: found.start()]
        if found := _CLOSING_PIPE.search(said):
            said = said[: found.start()]
        at = start + len(said)
        answer = answer[:at] + _FLAG + answer[at:]
    return answer


def _no_source(state: StateInline, silent: bool) -> bool:
    """The inline rule for the flag behind an unsupported sentence. It never runs in code."""
    if not state.src.startswith(_FLAG, state.pos):
        return False
    if not silent:
        state.push("no_source", "sup", 0)
    state.pos += len(_FLAG)
    return True


def _citation(state: StateInline, silent: bool) -> bool:
    """The inline rule for ``[n]`` where ``n`` has an address. It never runs in code."""
    match = MARK.match(state.src, state.pos)
    if match is None or int(match.group(1)) not in state.env.get("citations", {}):
        return False
    if not silent:
        token = state.push("citation", "a", 0)
        token.content = match.group(1)
    state.pos = match.end()
    return True


def _render_citation(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    n = int(tokens[index].content)
    href = nh3.clean_text(env["citations"][n])
    place = nh3.clean_text(env["places"].get(n, ""))
    title = f' title="{place}"' if place else ""
    return f'<a class="citation" href="{href}" data-n="{n}"{title}>[{n}]</a>'
