"""Memory that a process keeps, for the next tensors of that size."""

import ctypes
import os
import platform

MMAP_MAX, TRIM_THRESHOLD = -4, -1  # malloc.h
MOST = 2**31 - 1


def keep_memory() -> None:
    """Let the C library keep what is freed in place of giving it back to the system.

    A tensor of megabytes is else new pages each time, which the system first fills with zeros:
    MobileSAM's trunk takes a quarter longer by it on a processor. What a process holds is what it
    had at its peak. Only glibc does so, and where the environment says something of its memory
    (``MALLOC_...``, ``GLIBC_TUNABLES``) that stays.
    """
    said = any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ)
    if not said and platform.libc_ver()[0] == "glibc":
        library = ctypes.CDLL(None)
        library.mallopt(MMAP_MAX, 0)
        library.mallopt(TRIM_THRESHOLD, MOST)
