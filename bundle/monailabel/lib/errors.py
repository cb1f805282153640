"""Errors as HTTP answers: what a client did wrong is a 4xx with one line, and the server stays."""

import json
import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from monailabel.interfaces.exception import MONAILabelException

from samparser_monai.errors import InputError

log = logging.getLogger(__name__)


def answer_errors(app: FastAPI) -> None:
    """Let MONAI Label's server, which starts while this runs, answer bad input by a 4xx."""

    async def refused(request: Request, error: Exception) -> JSONResponse:
        text = getattr(error, "msg", None) or str(error)
        log.warning("%s %s refused: %s", request.method, request.url.path, text)
        return JSONResponse({"detail": text}, status_code=_status(error))

    for kind in (InputError, MONAILabelException, json.JSONDecodeError, TypeError, ValueError):
        app.add_exception_handler(kind, refused)
    app.middleware_stack = None  # built without them, since it serves the start-up itself


def _status(error: Exception) -> int:
    if isinstance(error, InputError):
        return 422
    return 404 if isinstance(error, MONAILabelException) else 400
