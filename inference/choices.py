"""The choices of an answer as OpenAI's completions and chat show them, whole or in pieces."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from inference.request import Delta, TokenLogprob
from inference.wire import Json

Kind = Literal["text", "message", "delta"]
AS_ID = "token_id:"


class Choices:
    """Gives each piece of one answer its shape: of ``/v1/completions`` (``text``), of a chat (``message``) or of a
    streamed chat (``delta``). ``token_bytes``: a token's text in UTF-8. Tokens without one, and all of them with
    ``as_ids``, are named by their numbers."""

    def __init__(
        self,
        kind: Kind,
        token_bytes: Callable[[int], bytes],
        *,
        as_ids: bool = False,
    ) -> None:
        self._kind = kind
        self._token_bytes = token_bytes
        self._as_ids = as_ids
        self._offset = 0

    def show(self, piece: Delta, reason: str | None = None) -> Json:
        choice: Json = {"index": 0, "logprobs": None, "finish_reason": reason}
        if self._kind == "text":
            logprobs = self._legacy(piece.logprobs) if piece.logprobs else None
            return choice | {"text": piece.text, "token_ids": list(piece.token_ids), "logprobs": logprobs}
        if piece.logprobs:
            entries = [
                self._entry(item.token_id, item.logprob)
                | {"top_logprobs": [self._entry(token, value) for token, value in item.top]}
                for item in piece.logprobs
            ]
            choice["logprobs"] = {"content": entries, "refusal": None}
        if self._kind == "message":
            return choice | {"message": {"role": "assistant", "content": piece.text, "refusal": None}}
        return choice | {"delta": {"role": "assistant", "content": piece.text} if reason is None else {}}

    def _name(self, token_id: int) -> str:
        text = b"" if self._as_ids else self._token_bytes(token_id)
        try:
            return text.decode() or f"{AS_ID}{token_id}"
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in text)

    def _entry(self, token_id: int, logprob: float) -> Json:
        return {
            "token": self._name(token_id),
            "logprob": logprob,
            "bytes": list(self._token_bytes(token_id)),
        }

    def _legacy(self, logprobs: tuple[TokenLogprob, ...]) -> Json:
        """The lists of ``/v1/completions``. A chosen token that is not among the likeliest is added to them."""
        shown: Json = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for item in logprobs:
            name = self._name(item.token_id)
            shown["tokens"].append(name)
            shown["token_logprobs"].append(item.logprob)
            likeliest = {self._name(token): value for token, value in item.top}
            shown["top_logprobs"].append(likeliest | {name: item.logprob})
            shown["text_offset"].append(self._offset)
            # A character begins with a byte that does not continue another.
            self._offset += sum(byte & 0xC0 != 0x80 for byte in self._token_bytes(item.token_id))
        return shown


def logprobs_from_json(choice: Json, count: int) -> tuple[TokenLogprob, ...]:
    """The logprobs of a piece of a completion whose tokens are named by their numbers, as they were before
    :class:`Choices` showed them. Raises ``ValueError`` and ``KeyError`` for anything else."""
    shown = choice.get("logprobs") or {"tokens": [], "token_logprobs": []}
    likeliest = shown.get("top_logprobs") or [None] * len(shown["tokens"])
    return tuple(
        TokenLogprob(_id(name), float(value), tuple(_best(top or {}, count)))
        for name, value, top in zip(shown["tokens"], shown["token_logprobs"], likeliest, strict=True)
    )


def _best(top: Json, count: int) -> list[tuple[int, float]]:
    """The chosen token may stand among the likeliest without being one of them."""
    pairs = [(_id(name), float(value)) for name, value in top.items()]
    return sorted(pairs, key=lambda pair: -pair[1])[:count]


def _id(name: str) -> int:
    return int(name.removeprefix(AS_ID))
