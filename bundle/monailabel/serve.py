"""Start the server for this machine alone: python serve.py --studies DIR [--port 8000] [...].

DIR has volumes (NIfTI, NRRD), or is the address of a DICOMweb server. All options are those of
`monailabel start_server`; without ``--host`` nobody but this machine is served.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads that spin cost
os.environ.setdefault("PYTHONPATH", "")  # MONAI Label's background tasks read it

from monailabel.main import Main

if __name__ == "__main__":
    # A client on this machine saves an answer under the name that it has here, in the common
    # folder for such files, where the server then removes its own: so that must be another.
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="samparser_label_")
    atexit.register(shutil.rmtree, tempfile.tempdir, ignore_errors=True)
    app = str(Path(__file__).resolve().parent)
    sys.argv[1:] = ["start_server", "--app", app, "--host", "127.0.0.1", *sys.argv[1:]]
    Main().run()
