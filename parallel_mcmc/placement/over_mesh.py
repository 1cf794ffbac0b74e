"""Chains over the devices of a mesh, of one process or several."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from parallel_mcmc._tree import PyTree, at
from parallel_mcmc.kernels.base import Kernel
from parallel_mcmc.kernels.chain import Chain, Parallel, Runner, Sequential, run_chains
from parallel_mcmc.placement.processes import CHAIN, local_part, owners_of
from parallel_mcmc.solver.buffers import in_parts, joined
from parallel_mcmc.solver.defaults import default_tolerance
from parallel_mcmc.solver.mesh import (
    blocks_of,
    manual_axes,
    require_mesh,
    require_short_blocks,
    require_spreadable,
)
from parallel_mcmc.solver.timeaxis import DATA, ONE_DEVICE, TIME, TimeAxis


@dataclasses.dataclass(frozen=True)
class OverMesh:
    """Chains over the axis ``"chain"`` of a mesh, the steps of each over its axis ``"time"``.

    Rows of devices along the axis ``"chain"`` never wait for each other. Chains that they do not
    divide are filled up with copies of the last one, which are dropped.
    """

    mesh: Mesh
    num_chains: int
    only_own: bool = False
    """Whether each process fetches its own chains only, rather than all of them."""

    @property
    def blocks(self) -> int:
        """Devices that share the steps of one chain."""
        return self.mesh.shape.get(TIME, 1)

    @property
    def axis(self) -> TimeAxis:
        """How a device's steps are part of a window."""
        return blocks_of(self.mesh) if self.blocks > 1 else ONE_DEVICE

    @property
    def kept(self) -> slice:
        """Which chains are fetched by this process."""
        if not self.only_own:
            return slice(0, self.num_chains)
        rows = [
            row
            for row, process in enumerate(owners_of(self.mesh))
            if process == jax.process_index()
        ]
        start, stop = (min(row * self._share, self.num_chains) for row in (rows[0], rows[-1] + 1))
        return slice(start, stop)

    def by_process(self) -> OverMesh:
        """Return a placement of which each process fetches its own chains only.

        Raises
        ------
        ValueError
            If a chain is spread over processes, or a process has no chain or not one block.
        """
        owners = owners_of(self.mesh)
        each = sorted(owner for owner in owners if owner is not None)
        if owners != each or set(owners) != set(range(jax.process_count())):
            raise ValueError(
                f'mesh must have the devices of one process in every row along "{CHAIN}", and for '
                f"each process rows one after the other, if there is a checkpoint, got rows of "
                f"the processes {owners}"
            )
        # The last process has the last chains. All of them are to notice if it has none.
        if owners.index(owners[-1]) * self._share >= self.num_chains:
            raise ValueError(
                f"num_chains must give every process a chain, got {self.num_chains} chains for "
                f"{jax.process_count()} processes"
            )
        return dataclasses.replace(self, only_own=jax.process_count() > 1)

    def groups(self, runner: Runner, num_chains: int) -> tuple[slice, ...]:
        """Return the chains that are fetched by this process, in one group."""
        return (self.kept,)

    def settings(self) -> dict[str, str]:
        """Return the axes of the mesh."""
        return {"mesh": ", ".join(f"{name} {size}" for name, size in self.mesh.shape.items())}

    @property
    def _share(self) -> int:
        """Chains of a row of devices."""
        return -(-self.num_chains // self.mesh.shape.get(CHAIN, 1))

    @property
    def _padded(self) -> int:
        return self._share * self.mesh.shape.get(CHAIN, 1)

    @property
    def _chains(self) -> str | None:
        return CHAIN if CHAIN in self.mesh.axis_names else None

    @property
    def _steps(self) -> PartitionSpec:
        time = TIME if TIME in self.mesh.axis_names else None
        return PartitionSpec(self._chains, None, time)

    def adapt(self, runner: Runner) -> Runner:
        """Return a runner whose windows are spread over the devices.

        Raises
        ------
        ValueError
            If it is the plain loop, which cannot share the steps, or its method cannot.
        """
        if self.blocks == 1:
            return runner
        if not isinstance(runner, Parallel):
            given = '"sequential"' if isinstance(runner, Sequential) else "pmc.Shooting()"
            raise ValueError(
                'solver must be "parallel", "auto" or a pmc.Newton method if the mesh has '
                f'{self.blocks} devices along "{TIME}", got {given}'
            )
        if runner.method is not None:
            require_spreadable(runner.method)
        window = runner.window + -runner.window % self.blocks
        require_short_blocks(window // self.blocks)
        return dataclasses.replace(runner, window=window, axis=self.axis)

    def segment(self, runner: Runner, length: int) -> int:
        """Return ``length`` or more: whole windows where they are spread over devices."""
        return length + -length % runner.window if self._spreads(runner) else length

    def _spreads(self, runner: Runner) -> TypeGuard[Parallel]:
        return self.blocks > 1 and isinstance(runner, Parallel)

    def enter(self, tree: PyTree) -> PyTree:
        """Place arrays on all devices, but for those that are spread over the mesh already."""
        return jax.tree.map(self._on_mesh, tree)

    def _on_mesh(self, leaf: Any) -> jax.Array:
        if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
            words = self._on_mesh(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(words, impl=jax.random.key_impl(leaf))
        sharding = getattr(leaf, "sharding", None)
        spec = PartitionSpec()
        if isinstance(sharding, NamedSharding) and (
            sharding.mesh.axis_names == self.mesh.axis_names
        ):
            spec = sharding.spec
        elif jax.process_count() > 1:
            leaf = np.asarray(leaf)
        # Also from a mesh with typed axes to ours, of the same devices: nothing is copied then.
        return jax.device_put(leaf, NamedSharding(self.mesh, spec))

    def enter_states(self, states: PyTree) -> PyTree:
        """Place the states of all chains, or of the process's own where it fetches only those."""
        sharding = NamedSharding(self.mesh, PartitionSpec(self._chains))
        first = self.kept.start

        def placed(leaf: Any) -> jax.Array:
            leaf = np.asarray(leaf)
            rows = np.clip(np.arange(self._padded) - first, 0, len(leaf) - 1)
            shape = (self._padded, *leaf.shape[1:])
            return jax.make_array_from_callback(shape, sharding, lambda at: leaf[rows][at])

        return jax.tree.map(placed, states)

    def run(
        self, runner: Runner, kernel: Kernel, states: PyTree, keys: jax.Array
    ) -> tuple[Chain, PyTree]:
        """Draw the chains, each device its block of every window of its chains."""
        length = keys.shape[1]
        runner = _precise(runner, states)
        window = runner.window if self._spreads(runner) else length
        block = window // self.blocks
        keys = keys[jnp.minimum(jnp.arange(self._padded), self.num_chains - 1)]
        windows = jax.vmap(lambda k: in_parts(k, window))(keys)

        def device(runner: Runner, kernel: Kernel, states: PyTree, windows: jax.Array) -> tuple:
            chunk = run_chains(runner, kernel, states, jax.vmap(joined)(windows))
            last = jax.vmap(self.axis.last)(chunk.states)
            cut = jax.vmap(lambda tree: in_parts(tree, block))
            return (cut(chunk.states), cut(chunk.info), chunk.stats), last

        chains, everywhere = PartitionSpec(self._chains), PartitionSpec()
        run = jax.shard_map(
            device,
            mesh=self.mesh,
            in_specs=(everywhere, everywhere, chains, self._steps),
            out_specs=((self._steps, self._steps, chains), chains),
            axis_names=manual_axes(self.mesh),
            # A log density may loop from a constant, of which no type tells that it may vary.
            check_vma=False,
        )
        chunk, last = run(runner, kernel, states, windows)
        return Chain(*chunk), last

    def fetch(self, chunk: Chain) -> Chain:
        """Copy a segment to the host, of all chains or of the process's own."""
        if self.only_own:
            host = jax.tree.map(local_part, chunk)
        elif jax.process_count() > 1:
            host = multihost_utils.process_allgather(chunk, tiled=True)
        else:
            host = jax.device_get(chunk)
        count = self.kept.stop - self.kept.start
        states, info, stats = (at(tree, slice(count)) for tree in host)

        def rows(leaf: np.ndarray) -> np.ndarray:
            return leaf.reshape(len(leaf), -1, *leaf.shape[3:])

        return Chain(jax.tree.map(rows, states), jax.tree.map(rows, info), stats)


def _precise(runner: Runner, states: Any) -> Runner:
    """Return a runner with a tenth of the tolerance in double precision, if it is the usual one.

    Errors within the tolerance depend on the windows, hence on the mesh; the draws should not, to
    1e-9 of their scale.
    """
    dtype = jnp.result_type(*jax.tree.leaves(states.position))
    if isinstance(runner, Sequential) or runner.tolerance is not None:
        return runner
    if jnp.finfo(dtype).bits < 64:
        return runner
    return dataclasses.replace(runner, tolerance=default_tolerance(dtype) / 10)


def require_chain_mesh(name: str, mesh: Any) -> Mesh:
    """Return ``mesh``, of whose axes no array's type tells.

    Raises
    ------
    TypeError
        If it is no :class:`jax.sharding.Mesh`.
    ValueError
        If it has other axes than ``"chain"``, ``"time"`` and ``"data"``, or neither of the first
        two.
    """
    mesh = require_mesh(name, mesh)
    axes = set(mesh.axis_names)
    if not axes & {CHAIN, TIME} or axes - {CHAIN, TIME, DATA}:
        raise ValueError(
            f'{name} must have an axis "{CHAIN}" or "{TIME}", or both, and perhaps "{DATA}", got '
            f"axes {mesh.axis_names}"
        )
    return mesh
