"""What makers of servers differ in: how a completion is asked for, and what of its answer names tokens.

What always holds: a sampling field that a server is not known to have is refused, never left out in silence; a
server whose own defaults differ from ours is sent every field that it would fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from inference import wire
from inference.choices import logprobs_from_json
from inference.errors import InvalidRequest
from inference.request import Delta, SamplingParams, Share, TokenLogprob

OURS = "tessera"


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a maker's completions understand beyond OpenAI's. ``separate``: prompts of different shares are kept
    apart in the server's prefix cache, by ``salt`` or by fields in ``always``; else the operator must say that
    there is no such cache. ``names``: its names for sampling fields, "" for one that it lacks. ``logprobs``: how
    it names tokens in them by their numbers, if at all."""

    separate: bool = False
    salt: bool = False
    always: wire.Json = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    takes_tokens: bool = True
    logprobs: Literal["", "by_name", "by_id"] = ""

    def body(
        self, model: str, prompt: Sequence[int] | str, params: SamplingParams, share: Share
    ) -> wire.Json:
        """A streamed completion's request; ``prompt`` is text unless it ``takes_tokens``. Raises ``InvalidRequest`` for what the server cannot be asked for."""
        body: wire.Json = {
            "model": model,
            "prompt": prompt,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.always,
        }
        for name, value in wire.sampling_to_json(params).items():
            theirs = self.names.get(name, name)
            if not theirs or (name == "logprobs" and not self.logprobs):
                raise InvalidRequest(f"The server of {model} has no {name}.", hint="Leave the field out.")
            body[theirs] = value
        if self.logprobs == "by_name" and params.logprobs is not None:
            body["return_tokens_as_token_ids"] = True
        if self.salt and share.cache_salt:
            body["cache_salt"] = share.cache_salt.hex()
        return body

    def delta(self, choice: wire.Json, logprobs: int | None) -> Delta:
        """A piece of the answer; ``logprobs``: how many alternatives were asked for. Raises ``ValueError``,
        ``TypeError`` and ``KeyError`` for what cannot be read."""
        likely: tuple[TokenLogprob, ...] = ()
        if logprobs is not None and choice.get("logprobs"):
            by_id = self.logprobs == "by_id"
            likely = _likely_by_id(choice, logprobs) if by_id else logprobs_from_json(choice, logprobs)
        tokens = tuple(choice.get("token_ids") or (entry.token_id for entry in likely))
        return Delta(choice.get("text") or "", tokens, likely)


def _likely_by_id(choice: wire.Json, count: int) -> tuple[TokenLogprob, ...]:
    return tuple(
        TokenLogprob(
            int(entry["id"]),
            float(entry["logprob"]),
            tuple((int(top["id"]), float(top["logprob"])) for top in entry.get("top_logprobs", ())[:count]),
        )
        for entry in choice["logprobs"]["content"]
    )


DIALECTS = {
    OURS: Dialect(separate=True, logprobs="by_name"),
    "vllm": Dialect(
        separate=True,
        salt=True,
        # A model's generation_config.json fills in what a request leaves out.
        always={"return_token_ids": True, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
        logprobs="by_name",
    ),
    "llamacpp": Dialect(
        separate=True,
        # Its penalties look at the last 64 tokens unless told otherwise, and "all" (-1) is refused.
        always={"cache_prompt": False, "top_k": 0, "min_p": 0.0, "repeat_last_n": 1 << 17},
        names={"repetition_penalty": "repeat_penalty", "stop_token_ids": ""},
        logprobs="by_id",
    ),
    "Triton Inference Server": Dialect(takes_tokens=False),
}
"""By ``owned_by`` of a server's model list. TensorRT-LLM's refuses fields that it does not know, so that it and
strangers get none."""
