"""Rules of signing in that differ from django-allauth's: who may register, where a sign-in may lead, and that a
refusal takes the same time whoever was named.
"""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.auth_backends import AuthenticationBackend
from django.conf import settings
from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Registration is closed unless the operator opened it; ``next`` leads to a path of this site or is
    ignored.
    """

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return bool(settings.SIGNUP_OPEN)

    def is_safe_url(self, url: str | None) -> bool:
        return url_has_allowed_host_and_scheme(url, allowed_hosts=None)


class SignInBackend(AuthenticationBackend):  # type: ignore[misc]
    """Signs in by user name or e-mail address, and hashes a wrong password once for an account.

    A name that looks like an address is looked up as both, so that an account found twice would be told from none by
    the time of a second hash.
    """

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> Any:
        self._checked: set[Any] = set()
        return super().authenticate(request, **credentials)

    def _check_password(self, user: Any, password: str) -> Any:
        if user is not None and user.pk in self._checked:
            return None
        if user is not None:
            self._checked.add(user.pk)
        return super()._check_password(user, password)
