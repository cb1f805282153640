"""A disk that is full: one line, and what was there stays; on a small file system of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

WRITE = """
import gc
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from samparser_monai.errors import InputError
from samparser_monai.training.features import FeatureCache
from samparser_monai.files import DiskFull, replacing
from samparser_monai.training.checkpoints import CheckpointSaver

folder, large = Path(sys.argv[1]), torch.zeros(2**20)
cache = FeatureCache(folder / "cache")
cache.write("ab", torch.ones(4))
writers = {
    "w.pt": lambda path: torch.save(large, path),
    "w.safetensors": lambda path: save_file({"w": large}, path),
    "w.npz": lambda path: np.savez(path, large),
    "w.txt": lambda path: path.write_text("0" * 2**20),
}
for name, write in writers.items():
    gc.collect()  # a writer that failed holds its removed file open until then
    (folder / name).write_text("old")
    with pytest.raises(DiskFull), replacing(folder / name) as temporary:
        write(temporary)
    assert (folder / name).read_text() == "old"
save = {"model": torch.nn.Linear(1024, 1024)}
saver = CheckpointSaver(str(folder), save, save_final=True, final_filename="w.pt")
with pytest.raises(DiskFull):
    saver._final_checkpoint.save_handler(save["model"].state_dict(), "w.pt")
with pytest.raises(InputError, match="the disk of cache_dir=.* is full"):
    cache.write("cd", large)
assert cache.read("ab").tolist() == [1, 1, 1, 1]
left = {path.name for path in folder.rglob("*") if path.is_file()}
assert left == {*writers, "ab.safetensors"}, left
"""


def test_what_was_there_stays(tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=256k tmpfs "$1" || exit 77; exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", mount, "-", tmp_path, sys.executable, WRITE],
        capture_output=True,
        text=True,
    )
    if done.returncode in (1, 77) and "Traceback" not in done.stderr:
        pytest.skip("only root may mount")
    assert done.returncode == 0, done.stderr
