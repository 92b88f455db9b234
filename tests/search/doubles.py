"""Models for tests of searching: a generator that says what it is told, and an embedder that counts words."""

from __future__ import annotations

import re
import threading
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inference.engine.handle import RequestHandle
from inference.request import (
    ChatMessage,
    Delta,
    Finished,
    FinishReason,
    Health,
    LiveRequest,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)
from search.support import words

Reply = str | Callable[[str], str]


class ScriptedGenerator:
    """Answers every prompt with ``reply``, in pieces. A token of a prompt is one character.

    Until ``release`` is set, it says half of its reply and waits.
    """

    model_name = "scripted"
    max_model_len = 4096
    health: Health = "ok"

    def __init__(self, reply: Reply = "", *, piece: int = 4) -> None:
        self.reply = reply
        self.piece = piece
        self.error: Any = None
        self.release = threading.Event()
        self.release.set()
        self.prompts: list[str] = []
        self.shares: list[Share] = []
        self.params: list[SamplingParams] = []
        self.aborted: list[str] = []

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RequestHandle:
        text = "".join(map(chr, prompt.token_ids))
        self.prompts.append(text)
        self.shares.append(share)
        self.params.append(params)
        stopped = threading.Event()

        def abort(request_id: str) -> None:
            self.aborted.append(request_id)
            stopped.set()

        handle = RequestHandle(f"scripted-{len(self.prompts)}", abort)
        reply = self.reply if isinstance(self.reply, str) else self.reply(text)
        threading.Thread(target=self._speak, args=(handle, len(text), reply, stopped), daemon=True).start()
        return handle

    def _speak(self, handle: RequestHandle, prompt: int, reply: str, stopped: threading.Event) -> None:
        pieces = [reply[i : i + self.piece] for i in range(0, len(reply), self.piece)]
        for i, piece in enumerate(pieces):
            if i == len(pieces) // 2:
                while not self.release.wait(0.01) and not stopped.is_set():
                    pass
            if stopped.is_set():
                self._deliver(handle, Finished("aborted", Usage(prompt, i)))
                return
            self._deliver(handle, Delta(piece))
        reason: FinishReason = "error" if self.error else "stop"
        self._deliver(handle, Finished(reason, Usage(prompt, len(pieces)), self.error))

    @staticmethod
    def _deliver(handle: RequestHandle, event: Delta | Finished) -> None:
        handle.deliver([event])

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        text = "\n".join(f"<{message.role}>{message.content}" for message in messages)
        return PromptTokens(tuple(map(ord, text)))

    def count_tokens(self, text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]", text))

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def token_bytes(self, token_id: int) -> bytes:
        return chr(token_id).encode()

    def metrics(self) -> dict[str, float]:
        return {}

    def live(self) -> list[LiveRequest]:
        return []

    def stop(self) -> None: ...


class WordEmbedder:
    """A text is the normalised sum of its words' directions, so that shared words mean similarity."""

    name = "all-MiniLM-L6-v2"
    dimension = 384
    max_tokens = 256
    tokenizer: Any = None

    def embed_passages(
        self, texts: Sequence[str], *, on_batch: Callable[[int], None] | None = None
    ) -> np.ndarray[Any, np.dtype[np.float32]]:
        return np.stack([self.embed_query(text) for text in texts])

    def embed_query(self, text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        vector = np.zeros(self.dimension, dtype=np.float32)
        for word in words(text) or ["nothing"]:
            vector[zlib.crc32(word.encode()) % self.dimension] = 1.0
        return vector / np.linalg.norm(vector)

    def count_tokens(self, text: str) -> int:
        return len(text.split())
