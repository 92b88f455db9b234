"""How an upload's body is read: straight into the storage, once the request may upload at all.

Django would read a body into a temporary file at the first look at a form field, and the check of the form's token is
such a look. So the views below are exempt from the check at the door, and make it themselves when the body was read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from rest_framework.exceptions import ParseError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request

from ingestion.intake import IntakeHandler
from ingestion.refusals import UploadRefused, refuse_full_queue, refuse_too_large
from tenants.authentication import Credential
from tenants.models import Organization

MULTIPART_OVERHEAD = 64 * 1024

View = Callable[..., HttpResponse]


def announced_size(request: HttpRequest | Request) -> int | None:
    """The size of the file as far as the request's headers tell it, before its body is read."""
    length = request.META.get("CONTENT_LENGTH") or ""
    return max(0, int(length) - MULTIPART_OVERHEAD) if length.isdigit() else None


def refuse_early(request: HttpRequest | Request, organization: Organization) -> None:
    """Refuses before a byte of the body is read. Raises :class:`UploadRefused` (413, 429)."""
    refuse_too_large(announced_size(request))
    refuse_full_queue(organization)


def receives_a_file(refused: Callable[[Any, UploadRefused, str], HttpResponse]) -> Callable[[View], View]:
    """Decorates a view of a page that takes a file: reads the body into the storage, then checks the form's token.

    ``refused(request, refusal, filename)`` answers for a file that was not accepted. The middleware has put the organisation on
    the request.
    """

    def decorate(view: View) -> View:
        def received(request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
            handler = IntakeHandler(request.organization)
            try:
                refuse_early(request, request.organization)
                request.upload_handlers = [handler]
                request.POST  # noqa: B018 reads the body
            except UnreadablePostError:
                broken = UploadRefused("broken_off", "The file did not come whole.", "Upload it again.")
                return refused(request, broken, handler.file_name or "")
            except UploadRefused as refusal:
                return refused(request, refusal, handler.file_name or "")
            finally:
                handler.discard()
            return csrf_protect(view)(request, *args, **kwargs)

        received.__name__, received.__doc__ = view.__name__, view.__doc__
        return csrf_exempt(received)

    return decorate


class UploadParser(MultiPartParser):
    """Multipart whose file goes straight into the storage of the organisation of the asker's key.

    A session's request is read before the asker is known, since the check of its token looks at the form; its file goes
    by Django's own way, over a temporary file.
    """

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        request: Request = parser_context["request"]
        asker = vars(request).get("_auth")
        if not isinstance(asker, Credential):
            return super().parse(stream, media_type, parser_context)
        handler = IntakeHandler(asker.organization)
        request._request.upload_handlers = [handler]
        try:
            return super().parse(stream, media_type, parser_context)
        except UnreadablePostError as error:
            raise ParseError("The file did not come whole.") from error
        finally:
            handler.discard()
