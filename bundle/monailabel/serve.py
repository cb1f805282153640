"""Start the server for this machine alone: python serve.py --studies DIR [--port 8000] [...].

DIR has volumes (NIfTI, NRRD), or is the address of a DICOMweb server. All options are those of
`monailabel start_server`; without ``--host`` nobody but this machine is served.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads that spin cost
os.environ.setdefault("PYTHONPATH", "")  # MONAI Label's background tasks read it

from monailabel.main import Main

if __name__ == "__main__":
    app = str(Path(__file__).resolve().parent)
    sys.argv[1:] = ["start_server", "--app", app, "--host", "127.0.0.1", *sys.argv[1:]]
    Main().run()
