"""The draws of a checkpoint as an xarray dataset, without its kernel and without reading them."""

from __future__ import annotations

import os
from typing import Any

from parallel_mcmc._errors import require_path
from parallel_mcmc.store.arrays import load_zarr
from parallel_mcmc.store.manifest import Manifest
from parallel_mcmc.store.shards import shard_folders

GROUPS = ("posterior", "info")


def open_draws(path: str | os.PathLike[str], group: str = "posterior") -> Any:
    """Return the complete draws of a checkpoint, which are read from disk as they are used.

    Nothing but the folder is needed, and memory only for what is used of it: select variables and
    draws first, then compute. The run may be unfinished, or going on in another process. A run in
    shards, of processes or chains, has the draws that all of them have; joining theirs reads them.

    Parameters
    ----------
    path
        Folder of the checkpoint, or of one of its shards.
    group
        ``"posterior"`` for the positions, ``"info"`` for the information about every transition.

    Returns
    -------
    xarray.Dataset
        Variables with the dimensions ``chain`` and ``draw``, named as by
        :func:`parallel_mcmc.arviz.to_arviz`. ArviZ takes it as it is.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    ValueError
        If there is no checkpoint at ``path``, or ``group`` is another one.

    Examples
    --------
    >>> import tempfile, jax, jax.numpy as jnp, parallel_mcmc as pmc
    >>> kernel = pmc.mala(lambda q: -0.5 * jnp.sum(q["b"] ** 2), 0.5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     samples = pmc.sample(
    ...         jax.random.key(0), kernel, {"b": jnp.zeros(2)}, 1000, progress_bar=False,
    ...         checkpoint=f"{folder}/run",
    ...     )
    ...     draws = pmc.store.open_draws(f"{folder}/run")
    ...     draws["b"].isel(draw=slice(None, None, 10)).load().sizes
    Frozen({'chain': 1, 'draw': 100, 'b_dim_0': 2})
    """
    load_zarr()
    import xarray

    if group not in GROUPS:
        raise ValueError(f"group must be one of {GROUPS}, got {group!r}")
    folders = shard_folders(require_path("path", path))
    runs = [Manifest.read(folder) for folder in folders]
    drawn = min(run.drawn for run in runs)
    parts = []
    for folder, run in zip(folders, runs, strict=True):
        draws = xarray.open_zarr(folder, group=group, chunks=None, consolidated=False)
        chains = range(run.chains.start, run.chains.stop)
        parts.append(
            draws.isel(draw=slice(0, drawn)).assign_coords(chain=chains, draw=range(drawn))
        )
    return parts[0] if len(parts) == 1 else xarray.concat(parts, "chain")
