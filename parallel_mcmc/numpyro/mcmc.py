"""NumPyro's ``MCMC``, with the chains solved in parallel."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
from jax.tree_util import Partial
from numpyro.infer.mcmc import MCMCKernel
from numpyro.util import is_prng_key

from parallel_mcmc._errors import (
    require_callable,
    require_flag,
    require_key,
    require_positive_int,
)
from parallel_mcmc._tree import PyTree, any_traced, as_partial, at
from parallel_mcmc.choice.runner import choose_runner
from parallel_mcmc.numpyro.drawing import draw_chains
from parallel_mcmc.numpyro.fields import Fields, choose_fields
from parallel_mcmc.numpyro.history import (
    ADAPT_FIELDS,
    GRADIENT_FIELD,
    STATE_FIELDS,
    History,
    with_chain_axis,
)
from parallel_mcmc.numpyro.model import Target
from parallel_mcmc.numpyro.sampler import Sampler, Start
from parallel_mcmc.numpyro.state import SamplerState, first_key
from parallel_mcmc.sampling import Samples
from parallel_mcmc.solver import Newton, Shooting
from parallel_mcmc.warmup import WarmupResult

CHAIN_METHODS = ("parallel", "vectorized", "sequential")


class MCMC(numpyro.infer.MCMC):
    """A drop-in for ``numpyro.infer.MCMC``.

    All chains run together. They share one warmup: one step size and one mass matrix, learnt from
    the draws of all of them. From the same state after the warmup, and with the same key, the draws
    are those of ``numpyro.infer.MCMC`` with the same kernel, which makes one transition after the
    other.

    With a kernel that is not of this module it is NumPyro's ``MCMC``, and warns. Within ``jax.jit``
    and other transformations NumPyro's loop draws the chains.

    Parameters
    ----------
    sampler
        :class:`HMC`, :class:`MALA` or :class:`RandomWalk` of this module, or any other kernel of
        NumPyro.
    num_warmup
        Steps of the warmup. If 0, step size and mass matrix remain as ``sampler`` has them.
    num_samples
        Draws of every chain after the warmup.
    num_chains
        Number of chains.
    thinning
        Keep every ``thinning``-th draw.
    postprocess_fn
        From an unconstrained position to what :meth:`get_samples` returns; by default to the
        values of the model's sites, deterministic ones included.
    chain_method
        As in NumPyro, and without effect: the chains run together on the default device.
    progress_bar
        Whether to show one.
    progress_rate
        Draws between two moves of the bar, at least the window; by default 5 % of all.
    jit_model_args
        As in NumPyro, and without effect. Data are always arguments of the compiled code, so that
        new data of the same shape and type do not compile again. Models that need the values of
        their data while they are traced, for example for a shape, do compile again.
    solver, window
        How the chains are solved, and the blocks of the warmup; see :func:`parallel_mcmc.sample`.

    Attributes
    ----------
    samples : parallel_mcmc.Samples or None
        All draws of the last run, unconstrained, with the statistics of the solver.
    warmup_result : WarmupResult or None
        Result of the last warmup.

    Raises
    ------
    TypeError
        If ``sampler`` is no kernel, or a flag neither True nor False.
    ValueError
        If a number is out of its range; the message names the argument.

    Warns
    -----
    UserWarning
        If ``sampler`` is a kernel of another package.
    DivergenceWarning
        In :meth:`run`, if transitions diverged; :meth:`print_summary` tells their number too.

    Examples
    --------
    >>> import jax, numpyro
    >>> import numpyro.distributions as dist
    >>> from parallel_mcmc.numpyro import HMC, MCMC
    >>> def model(y):
    ...     mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    ...     sigma = numpyro.sample("sigma", dist.HalfNormal(5.0))
    ...     numpyro.sample("y", dist.Normal(mu, sigma), obs=y)
    >>> y = jax.random.normal(jax.random.key(1), (100,))
    >>> mcmc = MCMC(HMC(model), num_warmup=200, num_samples=300, num_chains=2, progress_bar=False)
    >>> mcmc.run(jax.random.key(0), y)
    >>> {name: draws.shape for name, draws in mcmc.get_samples(group_by_chain=True).items()}
    {'mu': (2, 300), 'sigma': (2, 300)}
    """

    def __init__(
        self,
        sampler: Any,
        *,
        num_warmup: int,
        num_samples: int,
        num_chains: int = 1,
        thinning: int = 1,
        postprocess_fn: Callable | None = None,
        chain_method: str | Callable = "parallel",
        progress_bar: bool = True,
        progress_rate: int | None = None,
        jit_model_args: bool = False,
        solver: str | Newton | Shooting = "auto",
        window: int | None = None,
    ) -> None:
        if not isinstance(sampler, MCMCKernel):
            raise TypeError(
                f"sampler must be an MCMC kernel such as HMC(model), got {type(sampler).__name__}: "
                f"{sampler!r}"
            )
        if not callable(chain_method) and chain_method not in CHAIN_METHODS:
            raise ValueError(
                f"chain_method must be one of {CHAIN_METHODS} or callable, got {chain_method!r}"
            )
        require_flag("progress_bar", progress_bar)
        require_flag("jit_model_args", jit_model_args)
        num_samples = require_positive_int("num_samples", num_samples)
        thinning = require_positive_int("thinning", thinning)
        if thinning > num_samples:
            raise ValueError(f"thinning must be at most num_samples = {num_samples}: {thinning}")
        if isinstance(num_warmup, bool) or not isinstance(num_warmup, int | np.integer):
            raise ValueError(f"num_warmup must be a non-negative integer, got {num_warmup!r}")
        if num_warmup < 0:
            raise ValueError(f"num_warmup must be a non-negative integer, got {num_warmup}")
        if postprocess_fn is not None:
            require_callable("postprocess_fn", postprocess_fn)
        if progress_rate is not None:
            progress_rate = require_positive_int("progress_rate", progress_rate)
        choose_runner(solver, window, num_samples)
        self._solves = isinstance(sampler, Sampler)
        if not self._solves:
            _warn_of_foreign_kernel(sampler, solver, window)
        # NumPyro warns that "parallel" needs many devices and that a callable bars the bar.
        is_silenced = self._solves and (callable(chain_method) or chain_method == "parallel")
        super().__init__(
            sampler,
            num_warmup=int(num_warmup),
            num_samples=num_samples,
            num_chains=require_positive_int("num_chains", num_chains),
            thinning=thinning,
            postprocess_fn=postprocess_fn,
            chain_method=(
                "vectorized" if is_silenced else chain_method  # pyright: ignore[reportArgumentType]
            ),
            progress_bar=progress_bar,
            jit_model_args=jit_model_args,
        )
        if is_silenced:
            self.chain_method = chain_method
        self.progress_rate = progress_rate
        self.solver = solver
        self.window = window
        self.samples: Samples | None = None
        self.warmup_result: WarmupResult | None = None

    @property
    def post_warmup_state(self) -> Any:
        """The state from which :meth:`run` starts, without a warmup, if it is not None.

        Set it to ``last_state`` to continue a run.
        """
        return self._warmup_state

    @post_warmup_state.setter
    def post_warmup_state(self, state: Any) -> None:
        if state is not None and self._solves:
            if not isinstance(state, SamplerState):
                raise TypeError(
                    "post_warmup_state must be a last_state or post_warmup_state of an MCMC with "
                    f"a kernel of parallel_mcmc.numpyro, got {type(state).__name__}"
                )
            wanted = () if self.num_chains == 1 else (self.num_chains,)
            if jnp.shape(state.potential_energy) != wanted:
                raise ValueError(
                    f"post_warmup_state must be of num_chains = {self.num_chains} chains, got "
                    f"the shape {jnp.shape(state.potential_energy)} of potential_energy"
                )
        self._warmup_state = state

    def warmup(
        self,
        rng_key: jax.Array,
        *args: Any,
        extra_fields: Sequence[str] = (),
        collect_warmup: bool = False,
        init_params: PyTree = None,
        **kwargs: Any,
    ) -> None:
        """Run the warmup alone; :meth:`run` then starts from its end.

        Parameters
        ----------
        rng_key
            One key, or a key for each chain.
        *args, **kwargs
            Arguments of the model.
        extra_fields
            What :meth:`get_extra_fields` returns of a collected warmup, as for :meth:`run`.
        collect_warmup
            Whether :meth:`get_samples` returns the draws of the warmup, until the next run.
        init_params
            Unconstrained initial positions, with a leading axis if there are several chains.
        """
        if not self._solves or self._is_traced(rng_key, args, kwargs, init_params):
            options = {"extra_fields": extra_fields, "collect_warmup": collect_warmup}
            super().warmup(rng_key, *args, init_params=init_params, **options, **kwargs)
            return
        keys = _chain_keys(rng_key, self.num_chains)
        target, constrain = self._target(keys, args, kwargs)
        self._warmup_state = None
        start = self._start(target, keys, init_params, keep_draws=collect_warmup)
        self._warmup_state = self._last_state = start.state
        if start.result is not None and start.result.draws is not None:
            before = with_chain_axis(start.state)
            known = {*STATE_FIELDS, "adapt_state.step_size"}
            fields = self._fields(extra_fields, constrain, before, known)
            assert start.warmup_keys is not None
            history = History(
                start.result.draws,
                start.result.kernel,
                start.warmup_keys,
                before,
                self.sampler.energy_of,
                np.asarray(start.result.step_sizes),
            )
            self._collect(history, constrain, target, fields)

    def run(
        self,
        rng_key: jax.Array,
        *args: Any,
        extra_fields: Sequence[str] = (),
        init_params: PyTree = None,
        **kwargs: Any,
    ) -> None:
        """Run the warmup, unless that has been done, and draw the samples.

        Parameters
        ----------
        rng_key
            One key, or a key for each chain.
        *args, **kwargs
            Arguments of the model.
        extra_fields
            What :meth:`get_extra_fields` returns: ``"potential_energy"``, ``"energy"``,
            ``"num_steps"``, ``"accept_prob"``, ``"mean_accept_prob"``, ``"diverging"``, ``"i"``,
            ``"z_grad"`` if the kernel takes a gradient, ``"adapt_state.step_size"``,
            ``"adapt_state.inverse_mass_matrix"`` and ``"adapt_state.mass_matrix_sqrt"`` as in
            NumPyro, and ``"accept_margin"``, the distance of the accept decision from a tie.
            ``"z.site"`` is the unconstrained value of a site; ``"~z.site"`` leaves a site out of
            the samples.
        init_params
            Unconstrained initial positions, with a leading axis if there are several chains.

        Raises
        ------
        TypeError
            If ``rng_key`` is no key, or ``extra_fields`` no list or tuple.
        ValueError
            If ``extra_fields`` or ``init_params`` does not fit the model, or the model cannot be
            sampled.
        RuntimeError
            If no valid initial parameters are found.
        """
        if not self._solves or self._is_traced(rng_key, args, kwargs, init_params):
            self._run_by_numpyro(rng_key, args, kwargs, extra_fields, init_params)
            return
        keys = _chain_keys(rng_key, self.num_chains)
        target, constrain = self._target(keys, args, kwargs)
        if self._warmup_state is None:
            state = self._start(target, keys, init_params).state
        else:
            state = self._warmup_state._replace(rng_key=keys)
        known = {*STATE_FIELDS, *ADAPT_FIELDS}
        if self.sampler.takes_gradient:
            known |= {GRADIENT_FIELD}
        before = with_chain_axis(state)
        fields = self._fields(extra_fields, constrain, before, known)
        history = draw_chains(
            self.sampler,
            target.logdensity,
            before,
            self.num_samples,
            solver=self.solver,
            window=self.window,
            progress_bar=self.progress_bar,
            progress_rate=self.progress_rate,
        )
        self.samples = history.draws
        self._collect(history, constrain, target, fields)
        last = history.last(history.draws.final_state)
        if self.num_chains == 1:
            last = at(last, 0)
        self._last_state = state._replace(**last)

    def _is_traced(self, *arguments: Any) -> bool:
        """Whether this runs within a transformation of JAX, which the driver cannot."""
        return any_traced(arguments, self._warmup_state, jnp.negative(jnp.ones(())))

    def _run_by_numpyro(
        self,
        rng_key: jax.Array,
        args: tuple,
        kwargs: dict,
        extra_fields: Sequence[str],
        init_params: PyTree,
    ) -> None:
        chain_method = self.chain_method
        if self._solves and chain_method == "parallel":
            self.chain_method = "vectorized"
        try:
            super().run(
                rng_key, *args, extra_fields=extra_fields, init_params=init_params, **kwargs
            )
        finally:
            self.chain_method = chain_method

    def _target(self, keys: jax.Array, args: tuple, kwargs: dict) -> tuple[Target, Partial]:
        """Return the posterior, and the map from positions to the samples."""
        target = self.sampler.target(first_key(keys), args, kwargs)
        self._args, self._kwargs = args, kwargs
        return target, as_partial(self.postprocess_fn or target.constrain)

    def _start(
        self, target: Target, keys: jax.Array, init_params: PyTree, keep_draws: bool = False
    ) -> Start:
        start = self.sampler.start(
            target,
            keys,
            self.num_warmup,
            init_params,
            keep_draws=keep_draws,
            progress_bar=self.progress_bar,
            solver=self.solver,
            window=self.window,
        )
        self.warmup_result = start.result
        return start

    def _fields(
        self, extra_fields: Sequence[str], constrain: Partial, before: SamplerState, known: set[str]
    ) -> Fields:
        names = self._sample_field, self._default_fields
        return choose_fields(extra_fields, constrain, at(before.z, 0), known, *names)

    def _collect(
        self, history: History, constrain: Partial, target: Target, fields: Fields
    ) -> None:
        kept = history.kept(self.thinning)
        self._states = {
            self._sample_field: history.sites(kept, constrain, fields.removed),
            **history.fields(kept, fields.names, target.logdensity),
        }
        self._states_flat = None


def _warn_of_foreign_kernel(
    sampler: Any, solver: str | Newton | Shooting, window: int | None
) -> None:
    name = f"{type(sampler).__module__}.{type(sampler).__name__}"
    if solver != "auto" or window is not None:
        raise ValueError(
            "solver and window must be left out for a kernel that is not of "
            f"parallel_mcmc.numpyro, got {solver!r} and {window!r} for {name}"
        )
    warnings.warn(
        f"{name} is not a kernel of parallel_mcmc.numpyro, such as HMC or MALA: NumPyro draws its "
        "chains, one step after the other",
        UserWarning,
        stacklevel=3,
    )


def _chain_keys(rng_key: jax.Array, num_chains: int) -> jax.Array:
    """Return one key for one chain, else a key for each chain."""
    if num_chains > 1 and isinstance(rng_key, jax.Array | np.ndarray):
        if rng_key.shape[:1] == (num_chains,) and is_prng_key(rng_key[0]):
            return jnp.asarray(rng_key)
    key = require_key("rng_key", rng_key)
    return key if num_chains == 1 else jax.random.split(key, num_chains)
