"""What a language is called."""

from __future__ import annotations

from django.utils.translation import get_language_info


def language_name(code: str) -> str:
    """The English name of the language with an ISO 639-1 code; the code where Django knows no name."""
    try:
        return str(get_language_info(code)["name"])
    except KeyError:
        return code
