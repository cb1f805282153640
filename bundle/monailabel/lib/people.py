"""Whose a request is: its token's user where the server has users, else who its fields name."""

from collections.abc import Mapping
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace
from typing import Any

import jwt
from monailabel.config import settings
from monailabel.endpoints.user import auth
from starlette.exceptions import HTTPException

ALGORITHMS = ["RS256", "ES256"]  # of OpenID Connect's providers; none by a secret that all know
SAVING = ("save", "save_label")
"""Fields of a request for an answer that keep it as a label."""
USER: ContextVar[auth.User | None] = ContextVar("user", default=None)
"""Whose token came with the current request; None where the server has no users."""


def read_tokens() -> None:
    """Have tokens read: MONAI Label names no algorithm, and PyJWT 2 then refuses every one."""
    auth.jwt = SimpleNamespace(decode=partial(jwt.decode, algorithms=ALGORITHMS))


def note_user(user: auth.User | None) -> None:
    """Note whose token came with a request; without users of its own the server has one for all."""
    USER.set(user if settings.MONAI_LABEL_AUTH_ENABLE else None)


def check_saving(request: Mapping[str, Any]) -> None:
    """Raise a 403 where an answer is to be kept as a label, and its user may keep none."""
    user, needed = USER.get(), settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR
    if user is not None and any(map(request.get, SAVING)) and needed not in user.roles:
        raise HTTPException(403, f"to save an answer needs the role {needed!r}")


def person_of(request: Mapping[str, Any]) -> str | None:
    """Return whose a request is: nobody can give another's name where there are users."""
    user, said = USER.get(), request.get("client_id")
    if user is not None:
        return user.username
    return said if isinstance(said, str) and said else None
