"""T33: what a person does not see in a file is not read, or loses its disguise and is told as any order."""

from __future__ import annotations

import pytest

from search.injected import without_injected
from search.prompting import harmless
from tests.search.injected_library import EVERY, text_of

GONE = ["tag-characters", "hidden-html", "tiny-html", "white-html", "html-comment", "h-footer"]
UNMASKED = ["zero-width", "h-soft-hyphen"]


@pytest.mark.parametrize("id", GONE)
def test_hidden_text_does_not_come_in(id: str) -> None:
    attack = EVERY[id]
    text = text_of(attack.files[0].name, attack.files[0].text).lower()
    assert text.strip()
    assert not any(word in text for word in attack.aim["says"])


@pytest.mark.parametrize("id", UNMASKED)
def test_disguised_orders_are_told_once_they_are_plain(id: str) -> None:
    attack = EVERY[id]
    text = text_of(attack.files[0].name, attack.files[0].text)
    assert any(word in text.lower() for word in attack.aim["says"])
    assert not any(word in without_injected(text).lower() for word in attack.aim["says"])


def test_characters_that_nobody_sees_do_not_reach_the_model() -> None:
    assert harmless("a\u200bb\U000e0041c\u202ed") == "abcd"
