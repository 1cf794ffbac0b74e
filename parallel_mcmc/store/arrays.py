"""The arrays of a checkpoint, in Zarr format 3: one chunk of every array a segment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from parallel_mcmc.store.errors import DamagedChunk

WRITE_EMPTY = {"write_empty_chunks": True}
"""Zarr leaves out a chunk of fill values alone, but here one that is missing is damage."""


class Spec(NamedTuple):
    """What an array is, and along which axis it grows."""

    shape: tuple[int, ...]
    dtype: np.dtype
    axis: int
    """Axis that is cut into chunks; a chunk has all of the others."""
    length: int
    """Length of a chunk along that axis."""
    dims: tuple[str, ...]


class Arrays:
    """Named arrays in a folder, written and read by chunks.

    Every chunk carries a checksum (CRC-32C) of its content, which reading verifies.
    """

    def __init__(self, folder: Path, specs: Mapping[str, Spec], arrays: dict[str, Any]) -> None:
        self._folder = folder
        self._specs = dict(specs)
        self._arrays = arrays

    @classmethod
    def create(cls, folder: Path, specs: Mapping[str, Spec]) -> Arrays:
        """Make the arrays in an empty folder."""
        zarr = load_zarr()
        for name, spec in specs.items():
            if spec.dtype.kind not in "biufc":
                raise ValueError(
                    f"checkpoint must be of arrays that Zarr knows, got the dtype {spec.dtype} "
                    f"of {name}"
                )
        root = zarr.create_group(store=zarr.storage.LocalStore(folder), zarr_format=3)
        arrays = {}
        for name, spec in specs.items():
            chunk = list(spec.shape)
            chunk[spec.axis] = spec.length
            arrays[name] = root.create_array(
                name,
                shape=spec.shape,
                # A chunk has no side of length zero, even where the array has.
                chunks=tuple(max(side, 1) for side in chunk),
                dtype=spec.dtype,
                # In place of what has not been drawn yet.
                fill_value=np.nan if spec.dtype.kind in "fc" else 0,
                compressors=[zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()],
                # Files side by side, rather than a folder for every chunk.
                chunk_key_encoding={"name": "default", "separator": "."},
                dimension_names=spec.dims,
                config=WRITE_EMPTY,
            )
        return cls(folder, specs, arrays)

    @classmethod
    def open(cls, folder: Path, specs: Mapping[str, Spec]) -> Arrays:
        """Open the arrays that :meth:`create` made.

        Raises
        ------
        ValueError
            If one is missing or of another shape or dtype, or its description is damaged.
        """
        zarr = load_zarr()
        config = {f"array.{key}": value for key, value in WRITE_EMPTY.items()}
        arrays = {}
        for name, spec in specs.items():
            try:
                with zarr.config.set(config):
                    arrays[name] = zarr.open_array(folder / name, mode="r+")
                found = (arrays[name].shape, arrays[name].dtype)
                if found != (spec.shape, spec.dtype):
                    raise ValueError(f"it must be of {spec.shape} {spec.dtype}, got {found}")
            except (ValueError, LookupError, OSError) as error:
                raise ValueError(
                    f"the checkpoint cannot be read: {folder / name}: {error}. It is damaged, or "
                    "made by a version of the package that records something else"
                ) from error
        return cls(folder, specs, arrays)

    def write(self, values: Mapping[str, Any], index: int) -> None:
        """Write one chunk of every array named.

        The system need not have put it on the disk when this returns: what a power failure
        destroys, its checksum tells.
        """
        for name, value in values.items():
            spec, value = self._specs[name], np.asarray(value)
            if not value.size:
                continue
            # Zarr would read a chunk that it writes a part of, such as the last one.
            self.path(name, index).unlink(missing_ok=True)
            start = index * spec.length
            self._arrays[name][_along(spec, start, start + value.shape[spec.axis])] = value

    def read_chunk(self, name: str, index: int) -> np.ndarray:
        """Return a chunk.

        Raises
        ------
        DamagedChunk
            If it is missing, or its checksum is not that of its content.
        """
        self._require(name, index)
        spec = self._specs[name]
        start = index * spec.length
        return self._read(name, start, min(start + spec.length, spec.shape[spec.axis]))

    def read(self, name: str, count: int) -> np.ndarray:
        """Return the first ``count`` entries of an array along the axis in which it grows.

        Raises
        ------
        DamagedChunk
            As :meth:`read_chunk`.
        """
        for index in range(-(-count // self._specs[name].length)):
            self._require(name, index)
        return self._read(name, 0, count)

    def _require(self, name: str, index: int) -> None:
        """Raise if a chunk is missing: Zarr would read fill values in its place."""
        if 0 not in self._specs[name].shape and not self.path(name, index).is_file():
            raise DamagedChunk(f"{self.path(name, index)} is missing")

    def _read(self, name: str, start: int, stop: int) -> np.ndarray:
        try:
            return np.asarray(self._arrays[name][_along(self._specs[name], start, stop)])
        except (ValueError, RuntimeError, OSError) as error:
            raise DamagedChunk(f"{self._folder / name}: {str(error).rstrip('.')}") from error

    def path(self, name: str, index: int) -> Path:
        """Return the file of a chunk."""
        spec = self._specs[name]
        grid = ["0"] * len(spec.shape)
        grid[spec.axis] = str(index)
        return self._folder / name / ".".join(["c", *grid])


def _along(spec: Spec, start: int, stop: int) -> tuple[slice, ...]:
    return (*[slice(None)] * spec.axis, slice(start, stop))


def load_zarr() -> Any:
    """Return Zarr; the rest of the package does without it."""
    try:
        import zarr
        import zarr.codecs
        import zarr.storage
    except ImportError as error:
        raise ImportError(
            'a checkpoint needs Zarr 3: pip install "parallel_mcmc[store]"'
        ) from error
    return zarr
