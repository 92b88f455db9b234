"""Under ASGI a static or uploaded file goes out block by block, as it is asked for, and is closed at the end."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.http import FileResponse, StreamingHttpResponse
from django.test import AsyncRequestFactory, Client

from config.asgi import application
from config.streaming import BLOCK, StreamingMiddleware
from tests.isolation.world import World, build

pytestmark = pytest.mark.filterwarnings("error")
LARGE = "drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"


async def get(path: str, **headers: str) -> tuple[int, list[bytes]]:
    """Status and bodies that the server would send."""
    sent: list[dict[str, Any]] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]
    stay = asyncio.Event()

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await stay.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(b"host", b"localhost"), *((k.encode(), v.encode()) for k, v in headers.items())]
    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": given}
    await application(scope, receive, send)
    bodies = [m["body"] for m in sent if m["type"] == "http.response.body" and m.get("body")]
    return sent[0]["status"], bodies


def test_a_static_file_comes_in_blocks() -> None:
    whole = Path(str(finders.find(LARGE))).read_bytes()
    status, bodies = asyncio.run(get(f"/static/{LARGE}"))
    assert (status, b"".join(bodies)) == (200, whole)
    assert len(whole) > 2 * BLOCK
    assert [len(body) for body in bodies[:-1]] == [BLOCK] * (len(whole) // BLOCK)


def test_a_part_of_a_static_file_is_that_part() -> None:
    whole = Path(str(finders.find(LARGE))).read_bytes()
    status, bodies = asyncio.run(get(f"/static/{LARGE}", range="bytes=5-300004"))
    assert (status, b"".join(bodies)) == (206, whole[5:300005])


def test_a_static_file_that_the_browser_has_is_not_sent() -> None:
    _, first = asyncio.run(get("/static/app.css"))
    assert first
    status, bodies = asyncio.run(
        get("/static/app.css", **{"if-modified-since": "Fri, 31 Dec 2100 00:00:00 GMT"})
    )
    assert (status, bodies) == (304, [])


@pytest.mark.django_db(transaction=True)
def test_an_uploaded_file_comes_whole(acme: Any, alice: Any, alice_client: Client) -> None:
    world: World = build(acme, alice, "canary")
    cookie = f"sessionid={alice_client.cookies['sessionid'].value}"
    status, bodies = asyncio.run(get(f"/o/acme/documents/{world.document.pk}/file", cookie=cookie))
    assert (status, b"".join(bodies)) == (200, world.chunk.text.encode())


def through_the_middleware(response: StreamingHttpResponse) -> StreamingHttpResponse:
    answered: StreamingHttpResponse = StreamingMiddleware(lambda request: response)(
        AsyncRequestFactory().get("/")
    )
    assert answered.is_async
    return answered


def test_a_file_is_read_as_it_is_asked_for_and_closed_with_the_answer() -> None:
    file = io.BytesIO(b"x" * (3 * BLOCK))
    response = through_the_middleware(FileResponse(file))

    async def first() -> bytes:
        return bytes(await anext(aiter(response)))

    assert len(asyncio.run(first())) == BLOCK
    assert file.tell() == BLOCK
    response.close()
    assert file.closed


def test_any_other_stream_is_read_part_by_part() -> None:
    made: list[int] = []

    def parts() -> Any:
        for number in range(3):
            made.append(number)
            yield b"" if number == 1 else b"part"

    response = through_the_middleware(StreamingHttpResponse(parts()))

    async def read() -> list[bytes]:
        stream = aiter(response)
        first = await anext(stream)
        assert made == [0]
        return [first, *[part async for part in stream]]

    assert asyncio.run(read()) == [b"part", b"part"]
