"""Start the server for this machine alone: python serve.py --studies DIR [--port 8000] [...].

DIR has volumes (NIfTI, NRRD), or is the address of a DICOMweb server. All options are those of
`monailabel start_server`; without ``--host`` nobody but this machine is served.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads that spin cost
os.environ.setdefault("PYTHONPATH", "")  # MONAI Label's background tasks read it
sys.modules["mlflow"] = None  # type: ignore[assignment]  # MONAI would load it: a clinician waits

from lib.processes import running, this_process  # noqa: E402
from monailabel.main import Main  # noqa: E402
from monailabel.utils.async_tasks.utils import (  # noqa: E402
    background_processes,
    stop_background_task,
)

PREFIX, OWNER = "samparser_label_", "owner.json"


def temporary_folder() -> str:
    """Make a folder for this server's temporary files; remove those of servers that were killed.

    A client on this machine saves an answer under the name that it has here, in the common folder
    for such files, where the server then removes its own: so that must be another.
    """
    common = Path(tempfile.gettempdir())
    for owner in common.glob(f"{PREFIX}*/{OWNER}"):
        try:
            left = running(json.loads(owner.read_text())) is None
        except (OSError, ValueError):  # another user's, or one that is being made
            continue
        if left:
            shutil.rmtree(owner.parent, ignore_errors=True)
    folder = tempfile.mkdtemp(prefix=PREFIX)
    Path(folder, OWNER).write_text(json.dumps(this_process()))
    return folder


if __name__ == "__main__":
    folder = temporary_folder()
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises it again at its end
    app = str(Path(__file__).resolve().parent)
    sys.argv[1:] = ["start_server", "--app", app, "--host", "127.0.0.1", *sys.argv[1:]]
    try:
        Main().run()
    finally:
        for method in list(background_processes):
            while stop_background_task(method):
                pass
        shutil.rmtree(folder, ignore_errors=True)
