"""A line of the log to each request that changes or computes something, or is refused: who, what.

It names images as the server does, and no pixels, prompts or segments.
"""

import logging
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.people import person_of

log = logging.getLogger("audit")
READING = ("GET", "HEAD", "OPTIONS")
ABOUT: ContextVar[dict[str, Any] | None] = ContextVar("about", default=None)


def told_of(request: Mapping[str, Any]) -> None:
    """Note whose a request is."""
    about, person = ABOUT.get(), person_of(request)
    if about is not None and person:
        about["who"] = person


class Audit:
    """Write the line when a request has been answered, or refused."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then write."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        about: dict[str, Any] = {"status": 0}
        before, begun = ABOUT.set(about), time.monotonic()

        async def sent(message: Message) -> None:
            about["status"] = message.get("status", about["status"])
            await send(message)

        try:
            await self.app(scope, receive, sent)
        finally:
            ABOUT.reset(before)
            if scope["method"] not in READING or about["status"] >= 400:
                asked = parse_qs(scope.get("query_string", b"").decode("latin-1"))
                images = [n for key in ("image", "id", "label") for n in asked.get(key, [])]
                log.info(
                    "%s %r: %s %r of %r: %d in %.2f s",
                    *((scope.get("client") or ["-"])[0], about.get("who", "-")[:80]),
                    *(scope["method"], scope["path"][:200], (images or ["-"])[0][:200]),
                    *(about["status"], time.monotonic() - begun),
                )
