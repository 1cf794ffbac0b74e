"""NumPyro's ``MCMC``, with the chains solved in parallel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.infer
from jax.tree_util import Partial
from numpyro.util import is_prng_key

from parallel_mcmc._errors import require_callable, require_key, require_positive_int
from parallel_mcmc._tree import PyTree, as_partial
from parallel_mcmc.numpyro.history import EXTRA_FIELDS, History
from parallel_mcmc.numpyro.sampler import Sampler
from parallel_mcmc.numpyro.state import SamplerState, first_key, split_keys
from parallel_mcmc.sampling import Samples, choose_runner, sample
from parallel_mcmc.solver import Newton
from parallel_mcmc.warmup import WarmupResult


class MCMC(numpyro.infer.MCMC):
    """A drop-in for ``numpyro.infer.MCMC``.

    All chains run together. They share one warmup: one step size and one mass matrix, learnt from
    the draws of all of them.

    Parameters
    ----------
    sampler
        :class:`HMC` or :class:`MALA` of this module.
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
    jit_model_args
        As in NumPyro, and without effect. Data are always arguments of the compiled code, so that
        new data of the same shape and type do not compile again. Models that need the values of
        their data while they are traced, for example for a shape, do compile again.
    solver, window
        How the chains are solved; see :func:`parallel_mcmc.sample`.

    Attributes
    ----------
    samples : parallel_mcmc.Samples or None
        All draws of the last run, unconstrained, with the statistics of the solver.
    warmup_result : WarmupResult or None
        Result of the last warmup.

    Raises
    ------
    TypeError
        If ``sampler`` is a kernel of another package.
    ValueError
        If a number is out of its range; the message names the argument.

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
        sampler: Sampler,
        *,
        num_warmup: int,
        num_samples: int,
        num_chains: int = 1,
        thinning: int = 1,
        postprocess_fn: Callable | None = None,
        chain_method: str | Callable = "parallel",
        progress_bar: bool = True,
        jit_model_args: bool = False,
        solver: str | Newton = "auto",
        window: int | None = None,
    ) -> None:
        if not isinstance(sampler, Sampler):
            raise TypeError(
                "sampler must be a parallel_mcmc.numpyro.HMC or MALA, got "
                f"{type(sampler).__module__}.{type(sampler).__name__}"
            )
        num_samples = require_positive_int("num_samples", num_samples)
        thinning = require_positive_int("thinning", thinning)
        if thinning > num_samples:
            raise ValueError(f"thinning must be at most num_samples = {num_samples}: {thinning}")
        if num_warmup != 0:
            if not isinstance(num_warmup, int | np.integer) or num_warmup < 0:
                raise ValueError(f"num_warmup must be a non-negative integer, got {num_warmup!r}")
            num_warmup = int(num_warmup)
        if postprocess_fn is not None:
            require_callable("postprocess_fn", postprocess_fn)
        choose_runner(solver, window, num_samples)
        super().__init__(
            sampler,
            num_warmup=num_warmup,
            num_samples=num_samples,
            num_chains=require_positive_int("num_chains", num_chains),
            thinning=thinning,
            postprocess_fn=postprocess_fn,
            # NumPyro warns that "parallel" needs many devices and that a callable bars the bar.
            chain_method="vectorized"
            if callable(chain_method) or chain_method == "parallel"
            else chain_method,
            progress_bar=progress_bar,
            jit_model_args=jit_model_args,
        )
        self.solver = solver
        self.window = window
        self.samples: Samples | None = None
        self.warmup_result: WarmupResult | None = None

    @property
    def post_warmup_state(self) -> SamplerState | None:
        """The state from which :meth:`run` starts, without a warmup, if it is not None.

        Set it to ``last_state`` to continue a run.
        """
        return self._warmup_state

    @post_warmup_state.setter
    def post_warmup_state(self, state: SamplerState | None) -> None:
        if state is not None:
            if not isinstance(state, SamplerState):
                raise TypeError(
                    "post_warmup_state must be a last_state or post_warmup_state of "
                    f"parallel_mcmc.numpyro.MCMC, got {type(state).__name__}"
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
            One key, or a key for each chain; of those the first one makes the draws, the others
            only choose where their chains start.
        *args, **kwargs
            Arguments of the model.
        extra_fields
            Without effect, since the warmup's draws are not kept.
        collect_warmup
            Must be False.
        init_params
            Unconstrained initial positions, with a leading axis if there are several chains.
        """
        if collect_warmup:
            raise ValueError("collect_warmup must be False: the warmup's draws are not kept")
        keys = _chain_keys(rng_key, self.num_chains)
        target = self.sampler.target(first_key(keys), args, kwargs)
        self._args, self._kwargs = args, kwargs
        self._warmup_state, self.warmup_result = self.sampler.start(
            target, keys, self.num_warmup, init_params, self.progress_bar
        )
        self._last_state = self._warmup_state

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
            One key, or a key for each chain; of those the first one makes the draws, the others
            only choose where their chains start.
        *args, **kwargs
            Arguments of the model.
        extra_fields
            What :meth:`get_extra_fields` returns: ``"potential_energy"``, ``"energy"``,
            ``"num_steps"``, ``"accept_prob"``, ``"mean_accept_prob"``, ``"diverging"``,
            ``"adapt_state.step_size"`` as in NumPyro, and ``"accept_margin"``, the distance of
            the accept decision from a tie. ``"z.site"`` is the unconstrained value of a site;
            ``"~z.site"`` leaves a site out of the samples.
        init_params
            Unconstrained initial positions, with a leading axis if there are several chains.

        Raises
        ------
        TypeError
            If ``rng_key`` is no key, or ``extra_fields`` no list or tuple.
        ValueError
            If ``extra_fields`` or ``init_params`` does not fit the model, or the model has
            discrete latent sites.
        RuntimeError
            If no valid initial parameters are found.
        """
        keys = _chain_keys(rng_key, self.num_chains)
        key_start, key_sample, key_next = split_keys(keys, 3)
        target = self.sampler.target(first_key(keys), args, kwargs)
        self._args, self._kwargs = args, kwargs
        start = self._warmup_state
        if start is None:
            start, self.warmup_result = self.sampler.start(
                target, key_start, self.num_warmup, init_params, self.progress_bar
            )
        constrain = as_partial(self.postprocess_fn or target.constrain)
        first = start.z
        if self.num_chains > 1:
            first = jax.tree.map(lambda leaf: leaf[0], first)
        fields, removed = self._choose_fields(extra_fields, constrain, first)

        kernel = self.sampler.build(target.logdensity, start.adapt_state)
        key_sample = first_key(key_sample)
        self.samples = sample(
            key_sample,
            kernel,
            start.z,
            self.num_samples,
            num_chains=self.num_chains,
            solver=self.solver,
            window=self.window,
            progress_bar=self.progress_bar,
        )
        history = History(self.samples, kernel, key_sample, self.num_samples)
        kept = history.kept(self.thinning)
        self._states = {
            self._sample_field: history.sites(kept, constrain, removed),
            **history.fields(kept, fields),
        }
        self._states_flat = None
        last = history.last()
        if self.num_chains == 1:
            last = jax.tree.map(lambda leaf: leaf[0], last)
        self._last_state = SamplerState(**last, adapt_state=start.adapt_state, rng_key=key_next)

    def _choose_fields(
        self, extra_fields: Sequence[str], constrain: Partial, position: PyTree
    ) -> tuple[list[str], tuple[str, ...]]:
        """Return the fields to collect and the sites to leave out, or raise before sampling."""
        if not isinstance(extra_fields, list | tuple):
            raise TypeError(f"extra_fields must be a list or tuple of names, got {extra_fields!r}")
        prefix = f"{self._sample_field}."
        known = [*EXTRA_FIELDS, self._sample_field]
        if isinstance(position, dict):
            known += [prefix + name for name in position]
        if any(name[:1] == "~" for name in extra_fields):
            sites = jax.eval_shape(constrain, position)
            known += [f"~{prefix}{name}" for name in sites if isinstance(sites, dict)]
        unknown = [name for name in extra_fields if name not in known]
        if unknown:
            raise ValueError(f"extra_fields {unknown} are not known; known are {known}")
        removed = tuple(name[len(prefix) + 1 :] for name in extra_fields if name[:1] == "~")
        names = dict.fromkeys([*self._default_fields, *extra_fields])
        fields = [name for name in names if name[:1] != "~" and name != self._sample_field]
        return fields, removed


def _chain_keys(rng_key: jax.Array, num_chains: int) -> jax.Array:
    """Return one key for one chain, else a key for each chain."""
    if num_chains > 1 and isinstance(rng_key, jax.Array | np.ndarray):
        if rng_key.shape[:1] == (num_chains,) and is_prng_key(rng_key[0]):
            return jnp.asarray(rng_key)
    key = require_key("rng_key", rng_key)
    return key if num_chains == 1 else jax.random.split(key, num_chains)
