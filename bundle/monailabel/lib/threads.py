"""Requests off the event loop, in threads, and what becomes of those whose client has left."""

import asyncio
import functools
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from monailabel.config import settings
from monailabel.endpoints import (
    activelearning,
    batch_infer,
    datastore,
    infer,
    info,
    logs,
    ohif,
    proxy,
    scoring,
    session,
    train,
)
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.people import note_user
from lib.turns import LEFT

QUICK = (info, logs, ohif, train, batch_infer, scoring, activelearning, session, datastore, proxy)
MOST = 64  # requests that compute or wait for their turn; a thread each
LOST = 499
"""The status of an answer that nobody receives."""


def off_the_loop(app: FastAPI) -> None:
    """Have MONAI Label's endpoints, which would do their work on the event loop, run in threads.

    Those that compute have threads of their own: what only tells something never waits for them.
    """
    router, computing, quick = APIRouter(), CapacityLimiter(MOST), CapacityLimiter(MOST)
    for module in (infer, *QUICK):
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                threads = computing if module is infer else quick
                router.add_api_route(
                    route.path,
                    in_thread(route.endpoint, threads),
                    methods=list(route.methods),
                    include_in_schema=False,  # MONAI Label's own is
                )
    app.include_router(router, prefix=settings.MONAI_LABEL_API_STR)
    app.router.routes.insert(0, app.router.routes.pop())


def in_thread(endpoint: Callable[..., Any], threads: CapacityLimiter) -> Callable[..., Any]:
    """Return an endpoint that does the same in a thread: MONAI Label's never wait for anything."""

    @functools.wraps(endpoint)
    async def called(**given: Any) -> Any:
        if isinstance(request := given.get("request"), Request):
            await request.body()  # is kept; the endpoint would ask another loop for it
        note_user(given.get("user"))
        work = partial(_finished, endpoint, given)
        return await to_thread.run_sync(work, limiter=threads)

    return called


def _finished(endpoint: Callable[..., Any], given: dict[str, Any]) -> Any:
    return asyncio.run(endpoint(**given))


class Watched:
    """Note when a client leaves, so that its request is not computed to the end."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and listen for the client's end meanwhile."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        left, whole = threading.Event(), asyncio.Event()

        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                left.set()
            elif not message.get("more_body"):
                whole.set()
            return message

        async def listen() -> None:
            await whole.wait()  # before that what comes is the request
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()

        listener, before = asyncio.create_task(listen()), LEFT.set(left.is_set)
        try:
            await self.app(scope, received, send)
        finally:
            listener.cancel()
            LEFT.reset(before)
