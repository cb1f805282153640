"""Who may ask the server, and how much they may send: checked before anything else is done."""

import socket
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import psutil
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.utils.others.generic import remove_file
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.audit import Audit
from lib.endpoints import GivenNames
from lib.threads import Watched


def guard(app: FastAPI, hosts: Iterable[str], most: int, at_once: int) -> None:
    """Let MONAI Label's server answer its own pages and the configured ones, and nobody else's.

    Args:
        app: MONAI Label's, whose own middleware answers every web page.
        hosts: names, beside this machine's, under which the server is reached.
        most: bytes that a request may have.
        at_once: requests that one address may have open.
    """
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    app.user_middleware = [
        Middleware(Audit),
        Middleware(TrustedHostMiddleware, allowed_hosts=[*own_hosts(), *hosts], www_redirect=False),
        Middleware(OwnPages, origins=origins),
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_credentials=True,
            allow_methods=["*"],
            allow_headers=["*"],
        ),
        Middleware(Crowd, most=at_once),
        Middleware(Limit, most=most),
        Middleware(Swept),
        Middleware(GivenNames),
        Middleware(Watched),
    ]


def own_hosts() -> list[str]:
    """Return this machine's names and addresses: a name of another may lead here by its DNS."""
    found = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
    for addresses in psutil.net_if_addrs().values():
        found |= {a.address.partition("%")[0] for a in addresses if a.family != psutil.AF_LINK}
    return sorted({"127.0.0.1", "::1", "[::1]", *found, *(f"[{a}]" for a in found if ":" in a)})


class OwnPages:
    """Refuse what a browser sends for a page of another origin than the server's and ``origins``.

    Without this a page could not read the answer, but what it asked for would be done.
    """

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self.app, self.origins = app, set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 403, or let the request through."""
        headers = Headers(scope=scope) if scope["type"] in ("http", "websocket") else {}
        origin, host = headers.get("origin"), headers.get("host")
        if origin is None or origin in self.origins or origin.partition("://")[2] == host:
            await self.app(scope, receive, send)
        else:
            text = f"pages of {origin!r:.80} may not ask this server: see MONAI_LABEL_CORS_ORIGINS"
            await JSONResponse({"detail": text}, status_code=403)(scope, receive, send)


class Crowd:
    """Refuse the requests of an address that has ``most`` of them open: others want to work too."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most, self.open = app, most, Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429, or let the request through."""
        address = (scope.get("client") or ["-"])[0]
        if self.open[address] >= self.most and scope["type"] == "http":
            text = (
                f"{self.most} requests of {address} are open: wait for an answer, or start the "
                "server with --conf open_requests N"
            )
            answer = JSONResponse({"detail": text}, 429, {"Retry-After": "5"})
            await _all_of(receive)
            await answer(scope, receive, send)
            return
        self.open[address] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.open[address] -= 1
            self.open += Counter()  # without those at 0


class Limit:
    """Refuse a request of more than ``most`` bytes, by its header or as soon as it has come."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app, self.most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or let the request through."""
        text = (
            f"more than {self.most / 1e9:g} GB are not taken at once: send less, or start the "
            "server with --conf upload_gb N"
        )
        length = Headers(scope=scope).get("content-length", "0") if scope["type"] == "http" else "0"
        if int(length) > self.most:
            await _all_of(receive)
            await JSONResponse({"detail": text}, status_code=413)(scope, receive, send)
            return
        come = 0

        async def counted() -> Message:
            nonlocal come
            message = await receive()
            come += len(message.get("body", b""))
            if come > self.most:
                if message.get("more_body"):
                    await _all_of(receive)
                raise HTTPException(413, text)
            return message

        await self.app(scope, counted, send)


async def _all_of(receive: Receive) -> None:
    """Let the rest of a request come and go: a client that is still sending reads no answer."""
    while (await receive()).get("more_body"):
        pass


class Swept:
    """Remove temporary files when no request is open: MONAI Label keeps those of refused ones.

    The folder is this server's own, see main.py.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app, self.open = app, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, then remove what is left."""
        self.open += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.open -= 1
            for path in [] if self.open else Path(tempfile.gettempdir()).iterdir():
                remove_file(str(path))
