"""What the engine needs of a checkpoint, whatever file format it came from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from inference.config import ModelConfig
from inference.request import ChatMessage, PromptTokens


class TokenStreamSource(Protocol):
    """Turns token ids into text as they come."""

    def push(self, token_id: int) -> str:
        """The text that is now complete: whole Unicode characters only."""
        ...

    def flush(self) -> str: ...


class TokenizerSource(Protocol):
    @property
    def eos_token_ids(self) -> tuple[int, ...]: ...

    def encode(self, text: str) -> list[int]: ...

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens: ...

    def stream(self) -> TokenStreamSource: ...


class WeightSource(Protocol):
    """A checkpoint under Hugging Face's tensor names, q and k in rotate-half order, all fp32."""

    @property
    def config(self) -> ModelConfig: ...

    @property
    def tokenizer(self) -> TokenizerSource: ...

    def names(self) -> list[str]: ...

    def tensor(self, name: str) -> Tensor: ...
