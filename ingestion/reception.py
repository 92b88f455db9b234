"""How an upload's body is read: straight into the storage, once the request may upload at all.

Django would read a body into a temporary file at the first look at a form field, and the check of the form's token is
such a look. So the views below are exempt from the check at the door, and make it themselves when the body was read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from rest_framework.authentication import get_authorization_header
from rest_framework.exceptions import ParseError, PermissionDenied
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.views import APIView

from ingestion.intake import IntakeHandler
from ingestion.refusals import UploadRefused, refuse_full_queue, refuse_too_large
from tenants.authentication import Credential, credential_of_session
from tenants.models import Organization
from tenants.permissions import HasScope

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
    """Multipart whose file goes straight into the storage of the organisation of the asker's key. (What comes with a session
    was read before: :class:`ReceivesAFile`.)"""

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


class ReceivesAFile(APIView):
    """A view of the API that takes a file by POST, from a key or from the session of a signed-in person.

    A session's body is read by the check of its token, which looks at the form, before the view is asked. So what cookies
    and headers tell is held against the request before that, and its file, too, goes straight into the storage.
    """

    parser_classes = [UploadParser]
    required_scopes = {"POST": "write"}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        if request.method != "POST" or not _comes_with_a_session(request):
            super().initial(request, *args, **kwargs)
            return
        asker = credential_of_session(request._request.user, request._request.session)
        if self.required_scopes["POST"] not in asker.scopes:
            raise PermissionDenied(HasScope.message, code=HasScope.code)
        refuse_early(request, asker.organization)
        handler = IntakeHandler(asker.organization)
        request._request.upload_handlers = [handler]
        try:
            super().initial(request, *args, **kwargs)
        except UnreadablePostError as error:
            raise ParseError("The file did not come whole.") from error
        finally:
            handler.discard()


def _comes_with_a_session(request: Request) -> bool:
    sent = get_authorization_header(request).split()
    by_key = bool(sent) and sent[0].lower() == b"bearer"
    user = getattr(request._request, "user", None)
    return not by_key and user is not None and user.is_authenticated
