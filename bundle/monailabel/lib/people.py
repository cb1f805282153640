"""Whose a request is: its token's user where the server has users, else who its fields name."""

from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any

import jwt
from monailabel.config import settings
from monailabel.endpoints.user import auth

ALGORITHMS = ["RS256", "ES256"]  # of OpenID Connect's providers; none by a secret that all know
USER: ContextVar[str | None] = ContextVar("user", default=None)
"""The name of the user whose token came with the current request."""


def read_tokens() -> None:
    """Have tokens read: MONAI Label names no algorithm, and PyJWT 2 then refuses every one."""
    auth.jwt = SimpleNamespace(decode=partial(jwt.decode, algorithms=ALGORITHMS))


def note_user(user: Any) -> None:
    """Note whose token came with a request; without users of its own the server has one for all."""
    USER.set(user.username if settings.MONAI_LABEL_AUTH_ENABLE and user is not None else None)


def person_of(request: Mapping[str, Any]) -> str | None:
    """Return whose a request is: nobody can give another's name where there are users."""
    said = request.get("client_id")
    return USER.get() or (said if isinstance(said, str) and said else None)
