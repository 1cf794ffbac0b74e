"""How much a CPU holds in its caches."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
"""Where Linux describes them."""

UNKNOWN_BYTES = 16e6
"""Bytes that a cache is taken to have where the system does not tell."""


@lru_cache
def cache_bytes() -> float:
    """Return the bytes of the largest cache of this machine's first core.

    Examples
    --------
    >>> cache_bytes() > 100_000
    True
    """
    return max(map(_bytes_in, CACHES.glob("index*/size")), default=UNKNOWN_BYTES)


def _bytes_in(file: Path) -> float:
    """Return what a file such as that with ``32768K`` says; nothing for what it may say else."""
    try:
        return 1024.0 * int(file.read_text().strip().removesuffix("K"))
    except (OSError, ValueError):
        return 0.0
