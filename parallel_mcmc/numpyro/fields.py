"""Which fields NumPyro's ``MCMC`` collects, and which sites it leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
from jax.tree_util import Partial

from parallel_mcmc._tree import PyTree


class Fields(NamedTuple):
    """What is collected."""

    names: list[str]
    """The fields beside the samples."""
    removed: tuple[str, ...]
    """Sites that are left out of the samples."""


def choose_fields(
    extra_fields: Sequence[str],
    constrain: Partial,
    position: PyTree,
    known: Iterable[str],
    sample_field: str,
    default_fields: Sequence[str],
) -> Fields:
    """Return what to collect, or raise before anything is drawn.

    Parameters
    ----------
    extra_fields
        As :meth:`MCMC.run` takes them.
    constrain
        From an unconstrained position to the values of the sites.
    position
        Of one chain.
    known
        Fields there are, but for those of the sites.
    sample_field, default_fields
        Of the kernel.

    Raises
    ------
    TypeError
        If ``extra_fields`` is no list or tuple.
    ValueError
        If one of them is not known.
    """
    if not isinstance(extra_fields, list | tuple):
        raise TypeError(f"extra_fields must be a list or tuple of names, got {extra_fields!r}")
    prefix = f"{sample_field}."
    known = {*known, sample_field}
    if isinstance(position, dict):
        known |= {prefix + name for name in position}
    if any(name[:1] == "~" for name in extra_fields):
        sites = jax.eval_shape(constrain, position)
        known |= {f"~{prefix}{name}" for name in sites if isinstance(sites, dict)}
    unknown = [name for name in extra_fields if name not in known]
    if unknown:
        raise ValueError(f"extra_fields {unknown} are not known; known are {sorted(known)}")
    removed = tuple(name[len(prefix) + 1 :] for name in extra_fields if name[:1] == "~")
    names = dict.fromkeys([*default_fields, *extra_fields])
    kept = [name for name in names if name[:1] != "~" and name != sample_field]
    return Fields(kept, removed)
