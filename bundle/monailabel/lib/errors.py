"""Errors as HTTP answers: what a client did wrong is a 4xx with one line, and the server stays."""

import errno
import logging
from traceback import walk_tb

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException
from starlette.exceptions import HTTPException

from lib.limits import Taken, TooLarge
from lib.threads import LOST
from lib.turns import Gone
from samparser_monai.errors import InputError
from samparser_monai.files import DiskFull

log = logging.getLogger(__name__)
INTERNAL, FULL = 500, 507
KINDS = (MONAILabelException, HTTPException, ValueError, TypeError, LookupError, AttributeError)
OWN = ("lib.", "samparser_monai.")
PASSING = ("lib.endpoints", "lib.threads")  # which only pass things on


def answer_errors(app: FastAPI) -> None:
    """Let MONAI Label's server, which starts while this runs, answer bad input by a 4xx."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        text, status = str(getattr(error, "detail", getattr(error, "msg", error))), _status(error)
        if status == FULL:
            text = "the server's disk is full: nothing was changed; free some space, send it again"
        if status == INTERNAL:
            log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        else:
            log.warning("%s %s refused: %s", request.method, request.url.path, text)
        return JSONResponse({"detail": text}, status, headers=getattr(error, "headers", None))

    for kind in (*KINDS, OSError, AssertionError, Gone):
        app.add_exception_handler(kind, refused)
    app.middleware_stack = None  # built without them, since it serves the start-up itself


def _status(error: Exception) -> int:
    if isinstance(error, Gone):
        return LOST
    if isinstance(error, DiskFull) or getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return FULL
    if isinstance(error, InputError):
        return {TooLarge: 413, Taken: 409}.get(type(error), 422)
    if isinstance(error, MONAILabelException):
        return 404
    if isinstance(error, HTTPException):  # MONAI Label's own 500 tell what a request lacks
        return error.status_code if error.status_code != INTERNAL else 400
    if isinstance(error, OSError):  # the names of files that were sent, or a fault of ours
        return 400 if error.errno in (errno.ENAMETOOLONG, errno.EINVAL) else INTERNAL
    # What MONAI Label's own reading of a request stumbles over is the client's; behind that, in
    # our own code, where bad input is told by InputError, it is a fault of ours.
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    ours = (name for name in modules if name not in PASSING)
    return INTERNAL if any(name.startswith(OWN) for name in ours) else 400
