"""Where MONAI Label's own handling of a request loses something: done here in its place."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any
from urllib.parse import parse_qsl, urlencode

from fastapi import UploadFile
from fastapi.background import BackgroundTasks
from monailabel.endpoints import datastore, infer
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.async_tasks.task import AsyncTask
from monailabel.utils.others.generic import remove_file
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.audit import told_of
from lib.names import parted, safe_name
from lib.people import person_of
from samparser_monai.errors import InputError

INFER, SAVE = infer.run_inference, datastore.save_label
NAMES = ("image", "id", "label")
"""Parameters of a query that name an image, or the label of one."""


SENT: ContextVar[str] = ContextVar("sent", default="")
"""The path of the label volume that came with a request, to go on from."""


def run_inference(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = "{}",
    file: UploadFile | None = None,
    label: UploadFile | None = None,
    output: Any = None,
) -> Any:
    """Answer a request; MONAI Label would lose its label volume where it has a label's name too."""
    path = ""
    if label is not None and not str(label.filename).endswith(".bin"):  # OHIF's scribbles
        ending = parted(label.filename or "")[1]
        with tempfile.NamedTemporaryFile(suffix=ending, delete=False) as kept:
            shutil.copyfileobj(label.file, kept)
        background_tasks.add_task(remove_file, path := kept.name)
        label = None
    before = SENT.set(path)
    try:
        return INFER(background_tasks, model, image, session_id, params, file, label, output)
    finally:
        SENT.reset(before)


def save_label(
    background_tasks: BackgroundTasks,
    image: str,
    params: str,
    tag: str,
    label: UploadFile,
    user: str | None,
) -> Any:
    """Keep a label, and whose it is; without users of its own the server believes the viewer."""
    given = json.loads(params or "{}")
    if isinstance(given, dict):  # else it is refused
        told_of(given)
        given["by"] = person_of(given)
    return SAVE(background_tasks, image, json.dumps(given), tag, label, user)


def add_image(
    background_tasks: BackgroundTasks,
    image: str | None,
    params: str,
    file: UploadFile,
    user: str | None,
) -> dict[str, Any]:
    """Keep an uploaded image; MONAI Label would cut its name at the first dot."""
    stem, ending = parted(file.filename or "")
    given = stem if image is None else image
    safe_name("image", given)
    try:
        content = dict(json.loads(params or "{}"))
    except (ValueError, TypeError) as error:
        raise InputError(f"params={params!r:.80} must be an object in JSON") from error
    with tempfile.NamedTemporaryFile(suffix=ending, delete=False) as kept:
        while chunk := file.file.read(1 << 20):
            kept.write(chunk)
    background_tasks.add_task(remove_file, kept.name)
    name = (
        app_instance()
        .datastore()
        .add_image(given, kept.name, {**content, **({"user": user} if user else {})})
    )
    return {"image": name, "given": given}


def replace_endpoints(
    check_training: Callable[[dict[str, Any]], Any], stopped: Callable[[], None]
) -> None:
    """Have images and labels kept by our own, and trainings checked first and cleared up after."""
    datastore.add_image, datastore.save_label = add_image, save_label
    infer.run_inference = run_inference
    run, stop = AsyncTask.run, AsyncTask.stop

    def checked(method: str, request: Any = None, params: Any = None, **options: Any) -> Any:
        if method == "train":
            check_training({**(request or {}), **(params or {})})
        return run(method, request, params, **options)

    def cleared(method: str) -> Any:
        task = stop(method)
        if task and method == "train":
            stopped()
        return task

    AsyncTask.run, AsyncTask.stop = staticmethod(checked), staticmethod(cleared)


class GivenNames:
    """Let requests name an image as it was named when it was uploaded."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Put the names that the datastore knows into the query."""
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        if any(key in NAMES for key, _ in query):
            known = app_instance().datastore().list_images()
            query = [(key, _stored(key, value, known)) for key, value in query]
            scope = {**scope, "query_string": urlencode(query).encode()}
        await self.app(scope, receive, send)


def _stored(key: str, value: str, known: list[str]) -> str:
    if key not in NAMES or value in known:
        return value
    try:
        name = safe_name(key, value)
    except InputError:
        return value
    return name if name in known else value
