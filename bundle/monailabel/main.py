"""SAM-PARSER in MONAI Label: Smart Edit, training from the viewer, batches, active learning."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

BUNDLE = next(
    p for p in Path(__file__).resolve().parents if (p / "configs/inference.json").exists()
)
sys.path.insert(0, str(BUNDLE))  # the bundle carries its own code

from lib.audit import told_of  # noqa: E402
from lib.endpoints import SENT, replace_endpoints  # noqa: E402
from lib.errors import answer_errors  # noqa: E402
from lib.guard import guard  # noqa: E402
from lib.infer import AUTO, Finder, Scribbler, Segmenter  # noqa: E402
from lib.keeping import put  # noqa: E402
from lib.labels import labels_given, with_own_values  # noqa: E402
from lib.learning import BatchSegmenter, LeastSure, OrganScore  # noqa: E402
from lib.limits import check_picture, check_size, number, yes  # noqa: E402
from lib.model import Model  # noqa: E402
from lib.people import check_saving, person_of, read_tokens  # noqa: E402
from lib.processes import this_process  # noqa: E402
from lib.runs import SERVER, Runs  # noqa: E402
from lib.segmentations import replace_segmentations  # noqa: E402
from lib.series import CheckedSeries  # noqa: E402
from lib.sessions import CheckedSessions  # noqa: E402
from lib.stores import CheckedDatastore  # noqa: E402
from lib.switching import add_switch  # noqa: E402
from lib.threads import off_the_loop  # noqa: E402
from lib.train import Tuner  # noqa: E402
from lib.viewer import mend_ohif  # noqa: E402
from lib.volumes import OpenVolumes  # noqa: E402
from monailabel.config import settings  # noqa: E402
from monailabel.interfaces import app as interfaces  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.exception import ImageNotFoundException  # noqa: E402

from samparser_monai.errors import InputError, root_cause, unknown  # noqa: E402

log = logging.getLogger(__name__)
TAGS = {"coarse": "prompt", "draft": "draft"}
"""What a label is for -> what the tag of it is called in a request."""


class SamParserApp(MONAILabelApp):
    """A bundle behind MONAI Label's server.

    ``--conf bundle DIR`` names another bundle than the one that the app lies in, ``--conf labels
    '{"liver": 1}'`` other organs, ``--conf backbone NAME`` another backbone. ``--conf hosts A,B``
    are names under which the server is reached beside this machine's own, ``--conf upload_gb 2``
    and ``--conf unpacked_gb 4`` what a request and a volume may take, ``--conf open_requests 32``
    how many requests one address may have open, ``--conf patient REGEX`` finds the patient in the
    name of an image, ``--conf versions 20`` is how many models stay,
    ``--conf rtstruct true`` has labels sent to a DICOMweb server as structure sets too.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        overrides = {key: conf[key] for key in ("backbone", "checkpoint") if key in conf}
        if "labels" in conf:
            overrides["labels"] = labels_given(conf["labels"])
        versions = int(number(conf, "versions", 20, least=1))
        self.model = Model(Path(conf.get("bundle", BUNDLE)).resolve(), overrides, versions)
        self.volumes = OpenVolumes(self.model, int(number(conf, "volumes", 3, least=1)))
        self.runs = Runs(self.model.bundle)
        self.unpacked = int(number(conf, "unpacked_gb", 4) * 1e9)
        self.uploaded = int(number(conf, "upload_gb", 2) * 1e9)
        self.open = int(number(conf, "open_requests", 32, least=1))
        self.rtstruct = yes(conf, "rtstruct")
        super().__init__(
            app_dir,
            studies,
            conf,
            name="SAM-PARSER",
            description="Organs from boxes and clicks, taught by corrections. No medical device.",
            labels=list(self.model.labels),
        )
        self._auto_update_scoring = False  # a process of its own at every sample and every start

    def init_infers(self) -> dict[str, Any]:
        """Return the two extents of an answer to prompts, and what asks for none."""
        return {
            AUTO: Finder(self.volumes, "All organs that the model knows by name, no prompt"),
            "samparser": Segmenter(self.volumes, 3, "The whole organ from a box or clicks"),
            "samparser_scribbles": Scribbler(self.volumes, "What a brush adds and takes away"),
            "samparser_slice": Segmenter(self.volumes, 2, "One slice from a box or clicks"),
        }

    def init_trainers(self) -> dict[str, Any]:
        """Return the training."""
        return {"samparser": Tuner(self.model, self.runs, self.conf.get("patient", ""))}

    def init_strategies(self) -> dict[str, Any]:
        """Return the strategies, MONAI Label's own among them."""
        return {"least_sure": LeastSure(), **super().init_strategies()}

    def init_scoring_methods(self) -> dict[str, Any]:
        """Return the scores."""
        return {"dsc": OrganScore(self.model)}

    def init_batch_infer(self) -> BatchSegmenter:
        """Return the batch."""
        return BatchSegmenter()

    def init_datastore(self) -> Any:
        """Return the studies: a folder, or a DICOMweb server."""
        interfaces.DICOMWebDatastore = CheckedSeries
        if self.studies.startswith(("http://", "https://")):
            store = super().init_datastore()
            store.rtstruct = self.rtstruct
        else:
            store = CheckedDatastore(
                self.studies,
                auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
                read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            )
        store.labels, store.unpacked, store.forget = self.model.labels, self.unpacked, self.forget
        return store

    def forget(self, image: str, gone: bool) -> None:
        """Remove what was made of an image's label, and of the image if it is to be gone."""
        self.runs.forget(image, gone)
        self.volumes.forget(self.datastore().get_image_uri(image))

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]:
        """Return what the answer tells beside the label: what training will and will not use."""
        super().on_save_label(image_id, label_id)
        return dict(self.datastore().told)

    def _load_sessions(self, load: bool = False) -> Any:
        path, expiry = settings.MONAI_LABEL_SESSION_PATH, settings.MONAI_LABEL_SESSION_EXPIRY
        return CheckedSessions(path, expiry, self.unpacked) if load else None

    def _download_dcmqi_tools(self) -> None:
        """Do without dcmqi, see ``lib.segmentations``: no server here has a network."""

    def on_init_complete(self) -> None:
        """Make the server ready for its first request."""
        from monailabel.app import app

        os.environ[SERVER] = json.dumps(this_process())
        self.runs.clear()
        hosts = [host.strip() for host in self.conf.get("hosts", "").split(",") if host.strip()]
        guard(app, hosts, self.uploaded, self.open)
        replace_endpoints(self.check_training, self.runs.stopped)
        replace_segmentations(self.model.labels)
        answer_errors(app)
        read_tokens()
        mend_ohif()
        tempfile.tempdir = tempfile.mkdtemp(prefix="samparser_requests_")
        off_the_loop(app)
        add_switch(app, self.model.versions)
        self.model.network(name := self.model.versions.resolve("latest"))
        log.info("answers come from tuned part %s", name)
        super().on_init_complete()

    def check_training(self, request: dict[str, Any]) -> None:
        """Refuse a training that would fail, before it is started in the background."""
        if tuner := self._trainers.get(request.get("model")):
            tuner.check(request, self.datastore())

    def bundle_path(self, model: str | None) -> None:
        """Refuse a task for a model that is not there, before it is started in the background."""
        if model is not None and model not in self._infers:
            raise unknown("model", model, self._infers)

    def infer(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Answer a request.

        Raises:
            InputError: it cannot be answered.
        """
        told_of(request)
        check_saving(request)
        if request.get("save") and request.get("model") != AUTO and not named(request):
            raise InputError("save=true needs label, the organ that the answer is of: name it")
        request = {**_without_paths(request), "client_id": person_of(request)}
        image, store = request.get("image"), datastore or self.datastore()
        kept = isinstance(image, str) and image in store.list_images()
        if not kept and not self._uploaded(image):
            raise ImageNotFoundException(f"image {image!r:.80} is not in the datastore")
        if not kept and Path(image).resolve().parent == Path(tempfile.gettempdir()).resolve():
            check_picture(image, self.unpacked)
        if request.get("model") not in self._infers:
            raise unknown("model", request.get("model"), self._infers)
        prompts = request.pop("prompts", None)
        tags = {key: request.pop(f"{name}_tag", None) for key, name in TAGS.items()}
        if isinstance(prompts, Mapping):
            tags["coarse"], asked = None, prompts.get(image) or {}
            if not isinstance(asked, Mapping):
                raise InputError(f"prompts of {image!r} must be an object, not {asked!r:.80}")
            request.update(_without_paths(asked), image=image)
        with ExitStack() as files:
            for key, tag in tags.items():
                if tag:
                    request[key] = files.enter_context(self._label(store, image, tag))
            if sent := SENT.get():
                check_size(sent, self.unpacked)
                request["draft"] = sent
            try:
                result = super().infer(request, datastore)
            except RuntimeError as error:  # MONAI's transforms wrap what a volume's reader says
                raise (root_cause(error) or error) from None
        if kept and request.get("save") and result["params"].get("organs"):
            flat = self._infers[request["model"]].dimension == 2
            organs = [row["organ"] for row in result["params"]["organs"]]
            put(store, image, result["file"], organs, flat, request["client_id"])
        if kept and (told := result["params"].get("least_sure")):
            store.update_image_info(image, {"least_sure": told})
        return result

    @contextmanager
    def _label(self, store: Any, image: str, tag: str) -> Iterator[str]:
        """Give the label of an image with the organs' own values, perhaps in a file for now."""
        label = store.get_label_by_image_id(image, tag)
        if not label:
            raise InputError(f"{image}: no prompts, and no label of tag {tag!r}")
        path, info = store.get_label_uri(label, tag), store.get_label_info(label, tag)
        own = with_own_values(path, info, self.model.labels)
        try:
            yield own
        finally:
            if own != path:
                Path(own).unlink()

    def _uploaded(self, image: Any) -> bool:
        """Tell whether a path is what the server itself wrote: a session, or an upload."""
        if not isinstance(image, str):
            return False
        path = Path(image).resolve()
        sessions = self._sessions and Path(self._sessions.store_path).resolve() in path.parents
        return bool(sessions) or path.parent == Path(tempfile.gettempdir()).resolve()

    def infer_wsi(self, request: dict[str, Any], datastore: Any = None) -> dict[str, Any]:
        """Refuse what is for pathology."""
        raise InputError("whole-slide inference is not served: POST /infer/samparser")


def named(request: Mapping[str, Any]) -> bool:
    """Tell whether a request names its organ; without, prompts are of the first that is known."""
    return any(map(request.get, ("label", "selected_label_name", "rois")))


def _without_paths(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request without what only the server itself may say: where files lie."""
    return {key: value for key, value in request.items() if key not in TAGS}
