"""Which servers there are besides the engine, and which of them answers for a model's name: read from two settings.

``TESSERA_REMOTES`` describes servers as JSON; ``TESSERA_ROUTES`` gives each name its backends in the order in which they
are asked, for instance ``answers = big, engine; code = engine``. What always holds: a mistake is a sentence at start,
never a surprise at a request."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inference.engine.remote.dialects import DIALECTS, OURS, Dialect
from inference.errors import InvalidRequest

ENGINE = "engine"
"""The backend that is always there: the engine in this process, or that of the inference service."""
_FORMS: dict[str, tuple[tuple[type, ...], str]] = {
    "bool": ((bool,), "true or false"),
    "int": ((int,), "a whole number"),
    "float": ((int, float), "a number"),
}


@dataclass(frozen=True, slots=True)
class Remote:
    """An OpenAI-compatible server, or another service of ours. ``model``: its own name for the model, its first where
    none is given. ``server``: whose it is, what it says of itself where nothing is given. ``tokenizer``: a GGUF file
    or a folder, needed unless it is ours. ``prefix_cache_off``: the operator's word that it shares no prefixes.
    ``token_timeout_s``: how long it may be silent."""

    name: str
    url: str
    model: str = ""
    server: str = ""
    api_key: str = field(default="", repr=False)
    api_key_file: str = ""
    tokenizer: str = ""
    prefix_cache_off: bool = False
    max_model_len: int = 4_096
    max_running: int = 32
    token_timeout_s: float = 120.0

    @property
    def key(self) -> str:
        return Path(self.api_key_file).read_text("utf-8").strip() if self.api_key_file else self.api_key


def check_safe(remote: Remote, *, tokenized: bool) -> None:
    """Raises ``InvalidRequest`` for a server that could mix organisations or read control tokens in text; whether
    prompts are ``tokenized`` here."""
    where = f"The server {remote.name} at {remote.url}"
    if remote.server != OURS and not tokenized:
        raise InvalidRequest(
            f"{where} would read control tokens inside people's text: it needs a tokenizer.",
            hint="Name a GGUF file or a folder of the model, which is read for its tokenizer alone.",
        )
    if not (DIALECTS.get(remote.server, Dialect()).separate or remote.prefix_cache_off):
        raise InvalidRequest(
            f"{where} ({remote.server}) is not known to keep the prefix caches of organisations apart.",
            hint='Switch its prefix cache off and state "prefix_cache_off": true in TESSERA_REMOTES.',
        )


@dataclass(frozen=True, slots=True)
class Route:
    """A model's name and the backends that answer for it, first choice first."""

    model: str
    backends: tuple[str, ...]


def parse_remotes(text: str) -> tuple[Remote, ...]:
    """The servers of ``TESSERA_REMOTES``. Raises ``InvalidRequest``."""
    if not text.strip():
        return ()
    try:
        given = json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"TESSERA_REMOTES is no JSON: {error}.") from error
    if not isinstance(given, dict):
        raise InvalidRequest("TESSERA_REMOTES must be an object of names and servers.")
    return tuple(_remote(name, server) for name, server in given.items())


def parse_routes(text: str, remotes: tuple[Remote, ...]) -> tuple[Route, ...]:
    """The routes of ``TESSERA_ROUTES`` to the engine and ``remotes``, the default one first. Raises
    ``InvalidRequest``."""
    routes: dict[str, Route] = {}
    known = {ENGINE, *(remote.name for remote in remotes)}
    for part in filter(None, map(str.strip, text.split(";"))):
        model, _, rest = (piece.strip() for piece in part.partition("="))
        backends = tuple(piece.strip() for piece in rest.split(","))
        if not model or not all(backends):
            raise InvalidRequest(f"TESSERA_ROUTES: {part!r} is not of the form NAME = BACKEND, BACKEND.")
        if model in routes or len(set(backends)) < len(backends):
            raise InvalidRequest(f"TESSERA_ROUTES: {part!r} names something twice.")
        for strange in sorted(set(backends) - known):
            raise InvalidRequest(
                f"TESSERA_ROUTES: there is no backend {strange!r} for {model}.",
                hint=f"Describe it in TESSERA_REMOTES, or name one of {', '.join(sorted(known))}.",
            )
        routes[model] = Route(model, backends)
    used = {backend for route in routes.values() for backend in route.backends}
    for idle in sorted(known - used - {ENGINE}):
        raise InvalidRequest(f"TESSERA_REMOTES: no route leads to {idle}.", hint="Name it in TESSERA_ROUTES.")
    return tuple(routes.values())


def _remote(name: str, given: Any) -> Remote:
    def wrong(what: str) -> InvalidRequest:
        return InvalidRequest(f"TESSERA_REMOTES: {name} {what}", hint="See docs/models.md, Routes.")

    if not name or name == ENGINE or set(name) & set(",;= "):
        raise wrong(f"is no name for a server; {ENGINE!r} and the characters , ; = and space are taken.")
    if not isinstance(given, dict):
        raise wrong("must be an object.")
    remote = Remote(name, **_fields(given, wrong))
    address = urlsplit(remote.url)
    if address.scheme not in ("http", "https") or not address.hostname or address.username:
        raise wrong("needs a url such as https://vllm.internal, without a user or a password.")
    if remote.server or not remote.tokenizer:
        check_safe(remote, tokenized=bool(remote.tokenizer))
    for path in filter(None, (remote.tokenizer, remote.api_key_file)):
        if not Path(path).exists():
            raise wrong(f"names {path}, which is not there.")
    return remote


def _fields(given: dict[str, Any], wrong: Callable[[str], InvalidRequest]) -> dict[str, Any]:
    kinds = {each.name: each for each in fields(Remote) if each.name != "name"}
    for name, value in given.items():
        if name not in kinds:
            raise wrong(f"has an unknown field {name!r}.")
        form, said = _FORMS.get(str(kinds[name].type), ((str,), "a string"))
        if not isinstance(value, form) or (isinstance(value, bool) and bool not in form):
            raise wrong(f"has a {name} that is not {said}.")
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise wrong(f"has a {name} that is not above 0.")
    for name, each in kinds.items():
        if each.default is MISSING and name not in given:
            raise wrong(f"has no {name}.")
    return given
