"""How requests, results and errors look as JSON between a client and the inference service.

Both ends use this module, so they cannot disagree. The shapes are OpenAI's, with vLLM's additions
(``top_k``, ``ignore_eos``, ``priority``, ``cache_salt``, ``token_ids``) and ours: ``share``,
``public_prefix``, ``deadline_s``. What always holds: what comes in is checked field by field, and
anything wrong ends in ``InvalidRequest``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from inference import errors
from inference.errors import InferenceError, InvalidRequest, Overloaded
from inference.request import MAX_LOGPROBS, ChatMessage, Priority, SamplingParams, Share, Usage

Json = dict[str, Any]

_ERRORS: dict[str, type[InferenceError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, InferenceError)
}
_ALWAYS_SENT = ("max_tokens", "temperature", "top_p", "stop")
_NUMBERS = (
    "temperature",
    "top_p",
    "min_p",
    "repetition_penalty",
    "presence_penalty",
    "frequency_penalty",
)
_UNSUPPORTED = ("best_of", "echo", "logit_bias", "suffix", "prompt_logprobs")
DEFAULT_RETRY_S = 5
MAX_MESSAGES = 1_000


def _number(body: Mapping[str, Any], name: str, default: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidRequest(f"{name} must be a number.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequest(f"{name} must be a finite number.")
    return number


def _whole(body: Mapping[str, Any], name: str, default: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name} must be a whole number.")
    return value


def text_from_json(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string.")
    return whole_text(value, name)


def whole_text(text: str, name: str) -> str:
    """The text itself. Raises ``InvalidRequest`` for half a character, which JSON can name but nothing can encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name} holds half a character (a lone surrogate).") from None
    return text


def sampling_to_json(params: SamplingParams) -> Json:
    """OpenAI's own fields; of the others those that are not as always, since a server may refuse
    fields that it does not know."""
    usual, body = SamplingParams(), {name: getattr(params, name) for name in _ALWAYS_SENT}
    others = {field.name: getattr(params, field.name) for field in fields(params)}
    return body | {name: value for name, value in others.items() if value != getattr(usual, name)}


def sampling_from_json(body: Mapping[str, Any]) -> SamplingParams:
    """Sampling parameters of a request; those that are absent take our defaults. ``logprobs`` is the number of
    completions, or true with the ``top_logprobs`` of chats. Raises ``InvalidRequest``."""
    if body.get("n") not in (None, 1):
        raise InvalidRequest("n must be 1: each request gets one answer.")
    for name in _UNSUPPORTED:
        if body.get(name):
            raise InvalidRequest(f"{name} is not supported.")
    usual = SamplingParams()
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(piece, str) for piece in stop):
        raise InvalidRequest("stop must be a string or a list of strings.")
    stop_ids = body.get("stop_token_ids") or []
    if not isinstance(stop_ids, list) or not all(type(token) is int for token in stop_ids):
        raise InvalidRequest("stop_token_ids must be a list of token ids.")
    newest = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return SamplingParams(
        max_tokens=_whole(body, newest, usual.max_tokens),
        top_k=_whole(body, "top_k", usual.top_k),
        seed=None if body.get("seed") is None else _whole(body, "seed", 0),
        stop=tuple(stop),
        ignore_eos=body.get("ignore_eos") is True,
        stop_token_ids=tuple(stop_ids),
        logprobs=_logprobs(body),
        **{name: _number(body, name, getattr(usual, name)) for name in _NUMBERS},
    )


def _logprobs(body: Mapping[str, Any]) -> int | None:
    asked = body.get("logprobs")
    if asked is not True and body.get("top_logprobs"):
        raise InvalidRequest("top_logprobs needs logprobs to be true.")
    if asked is None or asked is False:
        return None
    name = "top_logprobs" if asked is True else "logprobs"
    count = _whole(body, name, 0)
    if not 0 <= count <= MAX_LOGPROBS:
        raise InvalidRequest(f"{name} must lie between 0 and {MAX_LOGPROBS}.")
    return count


def share_to_json(share: Share) -> Json:
    return {"key": share.key, "weight": share.weight, "cache_salt": share.cache_salt.hex()}


def share_from_json(body: Mapping[str, Any]) -> Share:
    """The request's share. One that names none uses the share ``""``, whose cache nobody else reads."""
    given = body.get("share")
    if given is None:
        return Share("", cache_salt=str(body.get("cache_salt") or "").encode())
    if not isinstance(given, dict):
        raise InvalidRequest("share must be an object.")
    weight = _number(given, "weight", 1.0)
    if weight <= 0:
        raise InvalidRequest("share.weight must be positive.")
    try:
        salt = bytes.fromhex(text_from_json(given, "cache_salt", ""))
    except ValueError:
        raise InvalidRequest("share.cache_salt must be hexadecimal.") from None
    return Share(text_from_json(given, "key"), weight, salt)


def priority_from_json(body: Mapping[str, Any]) -> Priority:
    try:
        return Priority(_whole(body, "priority", Priority.API))
    except ValueError:
        raise InvalidRequest("priority must be 0 (interactive), 1 (API) or 2 (batch).") from None


def deadline_from_json(body: Mapping[str, Any]) -> float | None:
    return None if body.get("deadline_s") is None else _number(body, "deadline_s", 0.0)


def token_ids_from_json(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(token) is int for token in value):
        raise InvalidRequest("prompt must be a string or a list of token ids.")
    return tuple(value)


def public_prefix_from_json(body: Mapping[str, Any], prompt_tokens: int) -> int:
    prefix = _whole(body, "public_prefix", 0)
    if not 0 <= prefix <= prompt_tokens:
        raise InvalidRequest("public_prefix must lie between 0 and the length of the prompt.")
    return prefix


def message_to_json(message: ChatMessage) -> Json:
    return {"role": message.role, "content": message.content, "public": message.public}


def messages_from_json(body: Mapping[str, Any]) -> list[ChatMessage]:
    """The conversation of a request; content is a string or OpenAI's list of text parts."""
    given = body.get("messages")
    if not isinstance(given, list) or not 0 < len(given) <= MAX_MESSAGES:
        raise InvalidRequest(f"messages must be a list of 1 to {MAX_MESSAGES} messages.")
    messages: list[ChatMessage] = []
    for message in given:
        if not isinstance(message, dict):
            raise InvalidRequest("A message must be an object.")
        role = message.get("role")
        if role not in ("system", "user", "assistant"):
            raise InvalidRequest("A message's role must be system, user or assistant.")
        messages.append(ChatMessage(role, _content(message.get("content")), message.get("public") is True))
    return messages


def _content(value: Any) -> str:
    if isinstance(value, str):
        return whole_text(value, "content")
    if isinstance(value, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
        return whole_text("".join(part["text"] for part in value), "content")
    raise InvalidRequest("A message's content must be text.")


def usage_to_json(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "time_to_first_token_s": usage.time_to_first_token_s,
        "total_s": usage.total_s,
    }


def usage_from_json(body: Mapping[str, Any]) -> Usage:
    details = body.get("prompt_tokens_details") or {}
    return Usage(
        prompt_tokens=int(body.get("prompt_tokens") or 0),
        completion_tokens=int(body.get("completion_tokens") or 0),
        cached_tokens=int(details.get("cached_tokens") or 0),
        time_to_first_token_s=body.get("time_to_first_token_s"),
        total_s=body.get("total_s"),
    )


def error_to_json(error: InferenceError) -> Json:
    body: Json = {"code": error.code, "message": str(error), "hint": error.hint, "type": type(error).__name__}
    if isinstance(error, Overloaded):
        body["retry_after_s"] = error.retry_after_s
    return {"error": body}


def is_error_of_ours(body: Any) -> bool:
    """Whether a response's body is an error in the words of our own service."""
    given = body.get("error") if isinstance(body, dict) else None
    return isinstance(given, dict) and str(given.get("code")) in _ERRORS


def error_from_json(body: Any, status: int) -> InferenceError:
    """The error behind a response, whoever sent it: by our code, else by the HTTP status."""
    given = body.get("error") if isinstance(body, dict) else None
    given = given if isinstance(given, dict) else {}
    message = str(given.get("message") or f"The inference service answered {status}.")
    kind = _ERRORS.get(str(given.get("code")))
    if kind is Overloaded or (kind is None and status in (429, 503)):
        return Overloaded(message, retry_after_s=int(given.get("retry_after_s") or DEFAULT_RETRY_S))
    if kind is not None:
        return kind(message, hint=given.get("hint"))
    if status in (401, 403):
        return InferenceError(message, hint="Give the inference service and its clients the same key.")
    return InvalidRequest(message) if status in (400, 422) else InferenceError(message)
