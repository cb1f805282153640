"""Memory that was freed is there for the next tensor."""

import os
import platform
import subprocess
import sys

import pytest

PAGES = """
import resource
import torch
import samparser_monai.sam
new = []
for _ in range(60):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.zeros(16, 1024, 1024)
    new.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sum(pages < 20 for pages in new))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their way")
def test_freed_memory_is_used_again_unless_the_environment_has_its_own_way() -> None:
    """64 MB are 16 384 pages, or 32 large ones; a few times the heap grows before it serves."""
    found = []
    for own in ({}, {"MALLOC_TRIM_THRESHOLD_": "131072"}):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
        done = subprocess.run(
            [sys.executable, "-c", PAGES],
            env={**environment, **own},
            capture_output=True,
            check=True,
            text=True,
        )
        found.append(int(done.stdout))
    kept, given_back = found
    assert kept >= 30
    assert given_back == 0
