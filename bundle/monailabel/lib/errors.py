"""Errors as HTTP answers: what a client did wrong is a 4xx with one line, and the server stays."""

import json
import logging
from traceback import walk_tb

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException

from samparser_monai.errors import InputError

log = logging.getLogger(__name__)
INTERNAL = 500
OWN = ("lib.", "samparser_monai.")


def answer_errors(app: FastAPI) -> None:
    """Let MONAI Label's server, which starts while this runs, answer bad input by a 4xx."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        text, status = getattr(error, "msg", None) or str(error), _status(error)
        if status == INTERNAL:
            log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        else:
            log.warning("%s %s refused: %s", request.method, request.url.path, text)
        return JSONResponse({"detail": text}, status_code=status)

    for kind in (InputError, MONAILabelException, json.JSONDecodeError, TypeError, ValueError):
        app.add_exception_handler(kind, refused)
    app.middleware_stack = None  # built without them, since it serves the start-up itself


def _status(error: Exception) -> int:
    if isinstance(error, InputError):
        return 422
    if isinstance(error, MONAILabelException):
        return 404
    # What MONAI Label's own reading of a request stumbles over is the client's; behind that, in
    # our own code, where bad input is told by InputError, it is a fault of ours.
    modules = (frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__))
    return INTERNAL if any(name.startswith(OWN) for name in modules) else 400
