"""What can go wrong in the engine, as types with a code, a sentence for a person and a hint what to do."""

from __future__ import annotations


class InferenceError(Exception):
    """Base of every error that leaves this package.

    ``code`` is stable and machine-readable, ``str(error)`` is a sentence for a person, ``hint`` says what to do, and
    ``status`` is what it is over HTTP.
    """

    code = "inference_error"
    status = 500
    hint = "Try again; if it persists, look at the server's log."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class PromptTooLong(InferenceError):
    """The prompt and the asked output can never fit the context or the KV cache."""

    code = "prompt_too_long"
    status = 400
    hint = "Shorten the prompt or ask for fewer tokens."


class Overloaded(InferenceError):
    """The bounded queue is full; ``retry_after_s`` says when to come back."""

    code = "overloaded"
    status = 503
    hint = "Try again in a few seconds."

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlineExceeded(InferenceError):
    """The request could not be finished before its deadline."""

    code = "deadline_exceeded"
    status = 504
    hint = "Allow more time or ask for fewer tokens."


class NotReady(InferenceError):
    """The models are still loading."""

    code = "not_ready"
    status = 503
    hint = "The models are loading; try again in a few seconds."


class LoadingFailed(NotReady):
    """The models could not be loaded, or their engine died: waiting alone does not help."""

    code = "loading_failed"
    hint = "The operator finds the cause in the log of the process that holds the models, and restarts it."


class ServiceAway(NotReady):
    """The service, or what stands before it, broke off a request that had reached it: a proxy that answers for it (502, 503,
    504), a connection that ended. The request itself may be the cause."""

    code = "service_away"
    hint = "Try again in a few seconds; if it persists, see whether the inference service runs."


class EngineStopped(InferenceError):
    """The engine was stopped or its thread died while the request was under way."""

    code = "engine_stopped"
    status = 503


class InvalidRequest(InferenceError):
    """A parameter is out of range."""

    code = "invalid_request"
    status = 400
    hint = "Correct the parameter."


class WeightsMissing(InferenceError):
    """A weight file is not in the cache and could not be fetched."""

    code = "weights_missing"
    status = 503
    hint = "Run `manage.py models fetch`."


class WeightsCorrupt(InferenceError):
    """A weight file does not have the pinned SHA-256, or cannot be parsed."""

    code = "weights_corrupt"
    status = 503
    hint = "Delete the file and run `manage.py models fetch` again."


class UnsupportedCheckpoint(InferenceError):
    """The checkpoint is well-formed, but of a family or with a feature that the engine does not run."""

    code = "unsupported_checkpoint"
    hint = "Use a model of the Llama, Mistral, Qwen2, Qwen3 or SmolLM2 family."
