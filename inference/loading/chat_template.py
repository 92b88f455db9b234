"""Renders a checkpoint's own chat template without ever showing it the messages' text.

The template is foreign code and the text is foreign data: the template runs in jinja's sandbox and sees
a placeholder in place of each content. Its output is then cut at the placeholders, so that it is known
for every character whether the template or a message wrote it. Only what the template wrote may become
control tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.errors import InvalidRequest
from inference.request import ChatMessage

_PLACEHOLDER = re.compile("\ue000([0-9]+)\ue001")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of the rendered conversation. ``message`` is the index of the message that it is the
    content of; ``None`` means that the template wrote it."""

    text: str
    message: int | None = None


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


class ChatTemplate:
    """A compiled chat template. ``special_tokens`` are the variables such as ``bos_token`` that
    templates read."""

    def __init__(self, source: str, special_tokens: dict[str, str] | None = None) -> None:
        if _PLACEHOLDER.search(source):
            raise InvalidRequest("The model's chat template contains characters that are reserved.")
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda layout: datetime.now(UTC).strftime(layout)
        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise InvalidRequest(f"The model's chat template cannot be compiled: {error}.") from error
        self._special_tokens = dict(special_tokens or {})

    def render(self, messages: Sequence[ChatMessage]) -> list[Piece]:
        """The conversation with the assistant's turn opened at its end, in order.

        An empty content stays empty, so that a template may test for it. Raises ``InvalidRequest`` when
        the template refuses the conversation (for instance two user turns in a row) or loses a message.
        """
        shown = [
            {"role": message.role, "content": f"\ue000{index}\ue001" if message.content else ""}
            for index, message in enumerate(messages)
        ]
        try:
            text = self._template.render(messages=shown, add_generation_prompt=True, **self._special_tokens)
        except TemplateError as error:
            raise InvalidRequest(f"The model's chat template refuses this conversation: {error}.") from error
        pieces: list[Piece] = []
        seen: set[int] = set()
        end = 0
        for match in _PLACEHOLDER.finditer(text):
            index = int(match.group(1))
            if match.start() > end:
                pieces.append(Piece(text[end : match.start()]))
            pieces.append(Piece(messages[index].content, index))
            seen.add(index)
            end = match.end()
        if end < len(text):
            pieces.append(Piece(text[end:]))
        lost = [i for i, message in enumerate(messages) if message.content and i not in seen]
        if lost:
            raise InvalidRequest(
                f"The model's chat template drops message {lost[0] + 1} of the conversation."
            )
        return pieces
