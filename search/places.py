"""Where a passage stands in its file, in words that help a reader to find it there.

What always holds: a page number is shown only for formats whose reader sees that number too ("page 7"); a slide, sheet,
chapter or attachment goes by the label that its parser gave it ("Slide 4"); in all others the place is the path of
headings, or nothing; and where a format counts rows or items within a page, these follow ("Sheet Prices, rows 12–30"). Which formats have pages is known to whoever reads them, and is registered here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

JOINT = " › "
LONGEST_PLACE = 120
"""Characters; of a longer path the headings nearest to the passage are kept."""
LONGEST_HEADING = 80

_is_paged: Callable[[str], bool] = lambda media_type: False  # noqa: E731 until the reader of files is there


def register(is_paged: Callable[[str], bool]) -> None:
    """Sets what tells whether a reader of a media type sees the page numbers that are counted here."""
    global _is_paged
    _is_paged = is_paged


def is_paged(media_type: str) -> bool:
    """Whether a reader of such a file sees its page numbers."""
    return _is_paged(media_type)


def place_of(
    *, media_type: str, page: int, label: str, headings: Sequence[str], title: str = "", within: str = ""
) -> str:
    """The place of a passage under ``headings`` on ``page``, which its parser named ``label``; may be empty.

    ``within`` says where on the page, if that can be said ("rows 12–30"). A first heading that only repeats the document's ``title`` is left out, since it is shown beside the place.
    """
    on = _page_or_path(media_type, page, label, headings, title)
    if not within:
        return on
    return f"{on}, {within}" if on else within[0].upper() + within[1:]


def _page_or_path(media_type: str, page: int, label: str, headings: Sequence[str], title: str) -> str:
    if is_paged(media_type):
        return label or f"page {page}"
    path = list(dict.fromkeys(heading for heading in headings if heading.strip()))
    if label:
        # Headings go on from page to page; those before this page's own say nothing about it.
        below = path[path.index(label) + 1 :] if label in path else []
        path = [label, *below]
    elif path and _alike(path[0], title):
        path = path[1:]
    return _shortened(path)


def _alike(heading: str, title: str) -> bool:
    return heading.casefold().split() == title.casefold().split()


def _shortened(path: Sequence[str]) -> str:
    names = [
        name if len(name) <= LONGEST_HEADING else name[: LONGEST_HEADING - 1].rstrip() + "…" for name in path
    ]
    kept: list[str] = []
    for name in reversed(names):
        if kept and sum(map(len, kept)) + len(JOINT) * len(kept) + len(name) > LONGEST_PLACE:
            return JOINT.join(["…", *reversed(kept)])
        kept.append(name)
    return JOINT.join(reversed(kept))
