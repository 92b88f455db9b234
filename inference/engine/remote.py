"""The engine of another process, behind the interface of the one in this process.

A :class:`RemoteGenerator` speaks OpenAI's completions with prompts as token ids, so that nobody but us
decides what is a control token. What always holds: every request carries its share's cache salt; a
server that is not known to keep salted prompts apart is refused when it is connected, not when it has
leaked; an abort closes the connection, on which the server frees what the request held."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

import httpx

from inference import wire
from inference.engine.handle import RequestHandle
from inference.engine.remote_client import OURS, checked, find_model, headers, time_limits, unreachable
from inference.engine.remote_embedder import RemoteEmbedder
from inference.engine.router import EventRouter
from inference.errors import EngineStopped, InferenceError, InvalidRequest
from inference.loading.tokenizer import Tokenizer
from inference.request import (
    ChatMessage,
    Delta,
    Finished,
    FinishReason,
    GenerationEvent,
    Priority,
    PromptTokens,
    SamplingParams,
    Share,
    Usage,
)

__all__ = ["RemoteEmbedder", "RemoteGenerator"]

T = TypeVar("T")

SALTING = (OURS, "vllm")
"""Makers of servers that keep prompts of different ``cache_salt`` apart in their prefix cache."""


class RemoteGenerator:
    """A :class:`inference.request.TextGenerator` over our service or an OpenAI-compatible server.
    Thread-safe.

    ``tokenizer`` is needed for servers that are not ours: they would read control tokens inside a
    person's text. ``submit`` waits for the server's admission (one round trip), so that refusals are
    raised as those of a local engine are; call it from a thread, not from an event loop."""

    def __init__(
        self,
        base_url: str,
        *,
        model: str,
        max_model_len: int,
        api_key: str = "",
        owned_by: str = OURS,
        tokenizer: Tokenizer | None = None,
        salted_cache: bool = False,
    ) -> None:
        """``salted_cache`` is the operator's word that another maker's server shares no cache between salts.

        Raises ``InvalidRequest`` for a server that could mix organisations or read control tokens in text.
        """
        if owned_by != OURS and tokenizer is None:
            raise InvalidRequest(
                "This server would read control tokens inside people's text.",
                hint="Name the model's tokenizer (a GGUF file or a folder) to tokenize here.",
            )
        if owned_by not in SALTING and not salted_cache:
            raise InvalidRequest(
                "This server is not known to keep the prefix caches of organisations apart.",
                hint="Switch its prefix cache off and confirm that in the settings.",
            )
        self.model_name = model
        self.max_model_len = max_model_len
        self._ours = owned_by == OURS
        self._tokenizer = tokenizer
        self._router = EventRouter()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopped = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-engine", daemon=True)
        self._thread.start()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        self._client = httpx.AsyncClient(
            base_url=base_url, headers=headers(api_key), timeout=time_limits(), limits=limits
        )

    @classmethod
    def connect(
        cls,
        base_url: str,
        *,
        api_key: str = "",
        model: str | None = None,
        tokenizer: Tokenizer | None = None,
        salted_cache: bool = False,
        wait_s: float = 0.0,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Asks the server what it runs and returns a generator for it; see :func:`find_model` for the
        errors."""
        entry = find_model(
            base_url, api_key=api_key, model=model, task="generate", wait_s=wait_s, cancelled=cancelled
        )
        return cls(
            base_url,
            model=entry["id"],
            max_model_len=int(entry.get("max_model_len") or 4096),
            api_key=api_key,
            owned_by=str(entry.get("owned_by", "")),
            tokenizer=tokenizer,
            salted_cache=salted_cache,
        )

    def submit(
        self,
        prompt: PromptTokens,
        params: SamplingParams,
        *,
        share: Share,
        priority: Priority = Priority.INTERACTIVE,
        deadline_s: float | None = None,
    ) -> RequestHandle:
        """See ``TextGenerator.submit``; raises ``NotReady`` too, when the server does not answer."""
        body: dict[str, Any] = {
            "model": self.model_name,
            "prompt": list(prompt.token_ids),
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_token_ids": True,
            **wire.sampling_to_json(params),
        }
        if self._ours:
            body |= {"share": wire.share_to_json(share), "public_prefix": prompt.public_prefix}
            body["priority"] = int(priority)
            body |= {"deadline_s": deadline_s} if deadline_s is not None else {}
        elif share.cache_salt:
            body["cache_salt"] = share.cache_salt.hex()
        return self._call(self._open(body, len(prompt.token_ids)))

    def render_chat(self, messages: Sequence[ChatMessage]) -> PromptTokens:
        """See ``TextGenerator.render_chat``; our service renders with the template of its own
        checkpoint."""
        if self._tokenizer is not None:
            return self._tokenizer.render_chat(messages)
        body = self._call(self._post("/tokenize", {"messages": [wire.message_to_json(m) for m in messages]}))
        return PromptTokens(tuple(body["tokens"]), int(body["public_prefix"]))

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` has as plain text."""
        if self._tokenizer is not None:
            return len(self._tokenizer.encode(text))
        return int(self._call(self._post("/tokenize", {"prompt": text}))["count"])

    def metrics(self) -> dict[str, float]:
        """The server's counters and gauges without their ``vllm:`` prefix; labels are summed over."""
        values: dict[str, float] = {}
        for line in self._call(self._get_text("/metrics")).splitlines():
            name, _, number = line.rpartition(" ")
            if line.startswith("vllm:"):
                key = name.removeprefix("vllm:").partition("{")[0]
                with contextlib.suppress(ValueError):
                    values[key] = values.get(key, 0.0) + float(number)
        return values

    def stop(self) -> None:
        """Ends all requests with ``EngineStopped``; the server goes on. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        if self._stopped:
            work.close()
            raise EngineStopped("The connection to the inference service was closed.")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _ask_abort(self, request_id: str) -> None:
        """Takes no lock: it also runs in destructors."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._cancel, request_id)

    # -- the thread of the event loop

    def _cancel(self, request_id: str) -> None:
        task = self._tasks.get(request_id)
        if task is not None:
            task.cancel()

    async def _close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            return checked(await self._client.post(path, json=body))
        except httpx.TransportError as error:
            raise unreachable(error) from error

    async def _get_text(self, path: str) -> str:
        try:
            response = await self._client.get(path)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        if response.is_error:
            checked(response)
        return response.text

    async def _open(self, body: dict[str, Any], prompt_tokens: int) -> RequestHandle:
        """Sends the request and waits for its admission; a task then reads the stream."""
        started = time.monotonic()
        request = self._client.build_request("POST", "/v1/completions", json=body)
        try:
            response = await self._client.send(request, stream=True)
            if response.is_error:
                await response.aread()
                checked(response)
        except httpx.TransportError as error:
            raise unreachable(error) from error
        handle = RequestHandle(uuid.uuid4().hex, self._ask_abort)
        reading = self._read(handle, response, Usage(prompt_tokens, 0), started)
        task = self._loop.create_task(reading)
        self._tasks[handle.request_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(handle.request_id, None))
        # A task that is cancelled before its first step would never run its own clean-up.
        await asyncio.sleep(0)
        return handle

    async def _read(
        self, handle: RequestHandle, response: httpx.Response, usage: Usage, started: float
    ) -> None:
        last: Finished | None = None
        try:
            async for event in _events(response, usage, started):
                if isinstance(event, Finished):
                    last = event
                    break
                usage = _counted(usage, event, started)
                self._deliver(handle, event)
        except asyncio.CancelledError:
            if self._stopped:
                error = EngineStopped("The connection to the inference service was closed.")
                last = Finished("error", usage, error)
            else:
                last = Finished("aborted", usage)
        except httpx.HTTPError as broken:
            last = Finished("error", usage, EngineStopped(f"The inference service went away: {broken}"))
        except Exception as broken:
            last = Finished("error", usage, InferenceError(f"The service's answer cannot be read: {broken}"))
        finally:
            self._deliver(handle, last or Finished("error", usage, InferenceError("The stream ended early.")))
            with contextlib.suppress(httpx.HTTPError):
                await response.aclose()

    def _deliver(self, handle: RequestHandle, event: GenerationEvent) -> None:
        self._router.post(handle, event)
        self._router.flush()


def _counted(usage: Usage, event: Delta, started: float) -> Usage:
    """Usage so far, for requests that end without the server's own count."""
    first = usage.time_to_first_token_s
    first = time.monotonic() - started if first is None else first
    count = usage.completion_tokens + (len(event.token_ids) or 1)
    return replace(usage, completion_tokens=count, time_to_first_token_s=first)


async def _events(response: httpx.Response, counted: Usage, started: float) -> AsyncIterator[GenerationEvent]:
    """The events of a completion's SSE stream; the last is the one ``Finished``."""
    reason: FinishReason | None = None
    usage = counted
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        body = json.loads(data)
        if body.get("usage"):
            usage = wire.usage_from_json(body["usage"])
        if body.get("error"):
            yield Finished("error", usage, wire.error_from_json(body, response.status_code))
            return
        for choice in body.get("choices", ()):
            tokens = tuple(choice.get("token_ids") or ())
            if choice.get("text") or tokens:
                yield Delta(choice.get("text") or "", tokens)
            reason = choice.get("finish_reason") or reason
    if reason is None:
        yield Finished("error", usage, InferenceError("The stream ended before its last event."))
    elif usage.total_s is None:
        yield Finished(reason, replace(usage, total_s=time.monotonic() - started))
    else:
        yield Finished(reason, usage)
