"""Parallel Newton methods: a Jacobian model with its safeguards, and the literature's names."""

from __future__ import annotations

import dataclasses
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np

from parallel_mcmc._errors import (
    is_number,
    require_object,
    require_positive,
    require_positive_int,
)
from parallel_mcmc._tree import STATIC, any_traced, pytree
from parallel_mcmc.solver.jacobian import Dense, Diagonal, Identity, JacobianModel, Zero
from parallel_mcmc.solver.safeguards import FixedCap, LearnedCap, Memory, NormCap
from parallel_mcmc.solver.strides import default_stride
from parallel_mcmc.solver.trust_region import LevenbergMarquardt, TrustRegion


@pytree
@dataclasses.dataclass(frozen=True)
class Newton:
    """A parallel Newton method: a Jacobian model and its safeguards.

    Parameters
    ----------
    jacobian
        The model of the Jacobian: ``Zero()``, ``Identity()``, ``Diagonal()``, ``Dense()``,
        ``Surrogate()``.
    max_norm
        Bound on the spectral norm of every ``A_t``, but for those of steps that return their
        argument: a :class:`LearnedCap` (default), a number, or None for no bound.
    damping
        Factor in (0, 1] on every ``A_t``.
    radius
        Longest correction that the linear model is trusted with: its root mean square over the
        coordinates, in units of the state's scale or of the iterate's own spread over time, where
        that is larger. None for no limit.
    trust_region
        How the linear recurrence is solved: a :class:`LevenbergMarquardt` penalty, or None
        (default) for the exact solution.
    stride
        Only every ``stride``-th state is unknown; the steps between two of them are made one after
        the other. The same work an iteration, and fewer iterations. By default on a CPU 8 in
        windows of fewer than 256 steps, or half of those of fewer than 16, and 4 in longer ones; on
        an accelerator up to 4, as many as leave 1,024 unknown states. Windows are rounded up to
        whole strides; over a mesh the stride is a divisor of a device's part.

    Raises
    ------
    TypeError
        If ``jacobian``, ``max_norm`` or ``trust_region`` is of another kind.
    ValueError
        If ``max_norm`` or ``radius`` is not positive, ``damping`` is outside (0, 1], or ``stride``
        is not a positive integer.

    Examples
    --------
    >>> import parallel_mcmc as pmc
    >>> method = pmc.Newton(pmc.Diagonal(probes=2), radius=1.0)
    """

    jacobian: JacobianModel = Dense()
    _: dataclasses.KW_ONLY
    max_norm: NormCap | float | None = LearnedCap()
    damping: float = 1.0
    radius: float | None = 0.75
    trust_region: TrustRegion | None = None
    stride: int | None = dataclasses.field(default=None, metadata=STATIC)

    def __post_init__(self) -> None:
        require_object(
            "jacobian", self.jacobian, ("linearise",), "a Jacobian model such as pmc.Dense()"
        )
        if isinstance(self.max_norm, int | float | np.number | jax.Array):
            object.__setattr__(self, "max_norm", FixedCap(self.max_norm))
        elif self.max_norm is not None:
            accepted = "a number, None or a cap such as pmc.LearnedCap()"
            require_object("max_norm", self.max_norm, ("initial", "update"), accepted)
        if not any_traced(self.damping) and not (is_number(self.damping) and 0 < self.damping <= 1):
            raise ValueError(f"damping must be in (0, 1], got {self.damping!r}")
        if self.radius is not None:
            require_positive("radius", self.radius)
        if self.trust_region is not None:
            accepted = "None or a trust region such as pmc.LevenbergMarquardt()"
            require_object("trust_region", self.trust_region, ("solve",), accepted)
        if self.stride is not None:
            require_positive_int("stride", self.stride)

    @property
    def cap(self) -> NormCap | None:
        """``max_norm``, of which a plain number has become a :class:`FixedCap`."""
        return cast("NormCap | None", self.max_norm)

    def stride_of(self, length: int) -> int:
        """Return the stride for so many steps of a window on one device."""
        return min(default_stride(length) if self.stride is None else self.stride, length)

    def initial_memory(self, length: int, dim: int, dtype: jnp.dtype) -> Memory:
        """Return the safeguards' memory before the first iteration."""
        cap = FixedCap(jnp.inf) if self.cap is None else self.cap
        zeros = jnp.zeros((length, dim), dtype)
        return Memory(cap.initial(length, dtype), zeros, zeros, jnp.zeros(length, bool))


def require_newton(name: str, value: object) -> Newton:
    """Return ``value``; raises TypeError if it is no :class:`Newton`."""
    if not isinstance(value, Newton):
        raise TypeError(
            f"{name} must be a Newton method such as pmc.Newton() or pmc.quasi_deer(), got "
            f"{type(value).__name__}: {value!r}"
        )
    return value


def jacobi() -> Newton:
    """Return Jacobi iteration: ``Newton(Zero(), stride=1)``."""
    return Newton(Zero(), stride=1)


def picard() -> Newton:
    """Return Picard iteration: ``Newton(Identity(), stride=1)``."""
    return Newton(Identity(), stride=1)


def deer() -> Newton:
    """Return DEER (arXiv 2309.12252) with safeguards: ``Newton(Dense(), stride=1)``."""
    return Newton(Dense(), stride=1)


def quasi_deer(probes: int | None = 1, sweeps: int = 0) -> Newton:
    """Return quasi-DEER (arXiv 2407.19115): ``Newton(Diagonal(probes, sweeps=0), stride=1)``.

    With safeguards. The literature's method has no ``sweeps``; each one costs a Jacobian-vector
    product and saves iterations.
    """
    return Newton(Diagonal(probes, sweeps=sweeps), stride=1)


def elk(weight: float = 1.0) -> Newton:
    """Return ELK (arXiv 2407.19115): the full Jacobian inside a Levenberg-Marquardt trust region.

    The trust region is the only safeguard. Unlike in the paper, a state is moved to the value of
    its step and not left behind by the penalty, so that k iterations make k states exact.
    """
    return _inside(LevenbergMarquardt(weight), Dense())


def quasi_elk(weight: float = 1.0, probes: int | None = 1) -> Newton:
    """Return quasi-ELK (arXiv 2407.19115): :func:`elk` with the diagonal of the Jacobian."""
    return _inside(LevenbergMarquardt(weight), Diagonal(probes, sweeps=0))


def _inside(region: TrustRegion, jacobian: JacobianModel) -> Newton:
    return Newton(jacobian, max_norm=None, radius=None, trust_region=region, stride=1)
