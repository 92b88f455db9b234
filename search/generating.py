"""The requests that one answer makes of the engine: in its organisation's share, counted together, ended together."""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Sequence

from django.conf import settings

from inference.errors import InvalidRequest, NotReady, Overloaded
from inference.request import ChatMessage, Finished, Handle, Priority, SamplingParams, Share, TextGenerator
from search.answerability import YES_OR_NO, ask
from search.events import UsageCounted
from tenants.models import Organization


class StopSignal:
    """Ends a generation from another thread, also one that has not begun. Stopping twice is stopping once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._handle: Handle | None = None
        self.requested = False

    def stop(self) -> None:
        with self._lock:
            self.requested = True
            handle = self._handle
        if handle is not None:
            handle.abort()

    def watch(self, handle: Handle) -> None:
        with self._lock:
            self._handle = handle
            requested = self.requested
        if requested:
            handle.abort()


def share_of(organization: Organization) -> Share:
    """The organisation's part of the engine. The salt keeps its prefix-cache blocks from all others."""
    salt = hmac.new(settings.SECRET_KEY.encode(), f"cache-salt:{organization.pk}".encode(), hashlib.sha256)
    return Share(key=str(organization.pk), weight=1.0, cache_salt=salt.digest())


class Requests:
    """The requests of one answer, in its organisation's share; :attr:`usage` counts all of them."""

    def __init__(self, generator: TextGenerator, share: Share, priority: Priority, stop: StopSignal) -> None:
        self._generator, self._share, self._priority, self._stop = generator, share, priority, stop
        self.usage = UsageCounted(0, 0)

    def submit(self, messages: Sequence[ChatMessage], params: SamplingParams) -> Handle:
        """A request that the stop signal ends. Raises what ``TextGenerator.submit`` raises."""
        prompt = self._generator.render_chat(messages)
        handle = self._generator.submit(prompt, params, share=self._share, priority=self._priority)
        self._stop.watch(handle)
        return handle

    def says_yes(self, messages: Sequence[ChatMessage]) -> float | None:
        """By how much the model prefers yes to no. None where it cannot be asked: its server tells no likelihoods, or is away or
        busy; an answer may still come from another. Raises what else went wrong.
        """
        try:
            preference, finished = ask(self._generator, self.submit(messages, YES_OR_NO))
            self.count(finished)
        except (InvalidRequest, NotReady, Overloaded):
            return None
        return preference

    def count(self, finished: Finished) -> None:
        """Adds a request that ended to the usage. Raises its error."""
        done, so_far = finished.usage, self.usage
        self.usage = UsageCounted(
            so_far.prompt_tokens + done.prompt_tokens, so_far.completion_tokens + done.completion_tokens
        )
        if finished.error is not None:
            raise finished.error
