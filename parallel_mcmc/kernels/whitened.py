"""Whitened coordinates: targets, charts, and what the kernels that use them have in common."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial

from parallel_mcmc._errors import require_key
from parallel_mcmc._precision import full_precision
from parallel_mcmc._tree import PyTree, any_traced, num_steps, pytree, repeated
from parallel_mcmc.kernels.base import BoundKernel, DensityState, GradientState, initial_state
from parallel_mcmc.kernels.metric import Metric
from parallel_mcmc.rows.arranged import arranged
from parallel_mcmc.solver.batch_minor import batch_minor
from parallel_mcmc.solver.chart import Chart
from parallel_mcmc.solver.jacobian import Surrogate
from parallel_mcmc.solver.method import Newton
from parallel_mcmc.solver.recurrence import Recurrence
from parallel_mcmc.solver.safeguards import clip_length


class Flat(NamedTuple):
    """A :class:`GradientState` in whitened coordinates: what the solver iterates on."""

    position: jax.Array
    """Whitened position, shape ``(D,)``."""
    logdensity: jax.Array
    logdensity_grad: jax.Array
    """Gradient with respect to the whitened position, shape ``(D,)``."""


FURTHEST_CENTRE = 3.0
"""Standard deviations, in root mean square, to the furthest centre that is believed."""


def apparent_centre(state: Any) -> jax.Array:
    """Return the mean of the unit Gaussian that a whitened state seems to be drawn from, ``(D,)``.

    It is ``w + grad``. Where the posterior is no Gaussian the gradient can be of any size, and
    states that are guessed around a mean that far away only lead on to worse ones: the eight
    schools then had to be left to the loop.
    """
    (gradient,) = clip_length(state.logdensity_grad[None], FURTHEST_CENTRE)
    return state.position + gradient


class FlatDensity(NamedTuple):
    """A :class:`DensityState` in whitened coordinates."""

    position: jax.Array
    """Whitened position, shape ``(D,)``."""
    logdensity: jax.Array


@pytree
@dataclasses.dataclass(frozen=True)
class WhitenedTarget:
    """A log density as a function of the whitened position, with its gradient."""

    logdensity_fn: Callable[[PyTree], jax.Array]
    metric: Metric
    position: PyTree
    """An example of a position; only its structure, shapes and dtype matter."""

    def to_position(self, w: jax.Array) -> PyTree:
        """Return the position at whitened coordinates ``w``."""
        return ravel_pytree(self.position)[1](self.metric.color(w))

    @full_precision()
    def evaluate(self, w: jax.Array) -> Any:
        """Return ``w`` with the log density and its gradient there."""
        w = batch_minor(w)
        value, gradient = arranged(Partial(_value_and_grad, self))(w)
        return Flat(w, value.astype(w.dtype), batch_minor(gradient))

    def enter(self, state: Any) -> Any:
        """Return a kernel's state in whitened coordinates."""
        q, g = ravel_pytree(state.position)[0], ravel_pytree(state.logdensity_grad)[0]
        value = jnp.asarray(state.logdensity, q.dtype)
        return Flat(self.metric.whiten(q), value, self.metric.pull_gradient(g))

    def leave(self, state: Any) -> Any:
        """Return the kernel's state of whitened coordinates."""
        unravel = ravel_pytree(self.position)[1]
        return GradientState(
            self.to_position(state.position),
            state.logdensity,
            unravel(self.metric.push_gradient(state.logdensity_grad)),
        )


def _value(target: WhitenedTarget, w: jax.Array) -> jax.Array:
    return target.logdensity_fn(target.to_position(w))


_value_and_grad = jax.value_and_grad(_value, argnums=1)


@pytree
@dataclasses.dataclass(frozen=True)
class DensityTarget(WhitenedTarget):
    """A log density as a function of the whitened position, without its gradient."""

    @full_precision()
    def evaluate(self, w: jax.Array) -> FlatDensity:
        """Return ``w`` with the log density there."""
        w = batch_minor(w)
        return FlatDensity(w, arranged(Partial(_value, self))(w).astype(w.dtype))

    def enter(self, state: DensityState) -> FlatDensity:
        """Return a kernel's state in whitened coordinates."""
        q = ravel_pytree(state.position)[0]
        return FlatDensity(self.metric.whiten(q), jnp.asarray(state.logdensity, q.dtype))

    def leave(self, state: FlatDensity) -> DensityState:
        """Return the kernel's state of whitened coordinates."""
        return DensityState(self.to_position(state.position), state.logdensity)


@pytree
@dataclasses.dataclass(frozen=True)
class WhitenedChart:
    """The whitened position determines the state: at one evaluation of the target."""

    target: WhitenedTarget

    def coordinates(self, state: Any) -> jax.Array:
        """Return the whitened position."""
        return state.position

    def place(self, state: Any, coordinates: jax.Array) -> Any:
        """Return the state with another position and the old log density."""
        return state._replace(position=coordinates)

    def lift(self, state: Any, coordinates: jax.Array) -> Any:
        """Evaluate the target."""
        return self.target.evaluate(coordinates)

    def rest(self, state: Any) -> Any:
        """Return nothing: the position determines the rest."""
        return ()


class WhitenedKernel:
    """Base of the kernels that a metric whitens.

    A kernel is a transition in whitened coordinates and what is known of it; this class adds the
    ways in and out of those coordinates. States are :class:`GradientState` unless the kernel says
    otherwise.
    """

    logdensity_fn: Callable[[PyTree], jax.Array]
    metric: Metric
    is_adjusted: ClassVar[bool] = False
    """Whether transitions are accepted or rejected, at a rate that a warmup can steer by."""

    foresight: ClassVar[int] = 0
    """Transitions that it pays to guess before a lane of shooting: for a kernel whose chains take
    tens of them to meet."""

    @property
    def gradients_per_step(self) -> int:
        """Evaluations of one transition: 1, that of the next position or of the proposal."""
        return 1

    @property
    def largest_step_size(self) -> Any:
        """The step size above which larger ones are no different, if there is one; here, none."""
        return jnp.inf

    def method(self, dim: int) -> Newton:
        """Return the Newton method that suits the kernel: here, that with its own surrogate."""
        return Newton(Surrogate())

    def init(self, position: PyTree, key: jax.Array | None = None) -> Any:
        """Return the state at ``position``; raises ValueError if it cannot start there."""
        return initial_state(self.logdensity_fn, position)

    @full_precision()
    def move(self, state: Any, position: PyTree) -> Any:
        """Return the state at another position, at one gradient evaluation."""
        return GradientState(position, *jax.value_and_grad(self.logdensity_fn)(position))

    @abstractmethod
    def draw_like(self, key: jax.Array, position: PyTree) -> PyTree:
        """Draw the random numbers of one transition, for positions like ``position``."""

    @abstractmethod
    def transition(
        self, evaluate: Callable[[jax.Array], Any], state: Any, draw: Any
    ) -> tuple[Any, PyTree]:
        """Make one transition in whitened coordinates."""

    @abstractmethod
    def surrogate(self, state: Any, draw: Any, next_state: Any, info: Any) -> jax.Array:
        """Return the Jacobian of the transition on a unit Gaussian."""

    def predict(self, chart: Chart, state: Any, draws: Any) -> Any:
        """Guess the states that follow ``state``: here, that it stays where it is."""
        return repeated(state, num_steps(draws))

    def imitate(self, state: Any, draws: Any) -> Any:
        """Return the states that follow, one after the other, by a cheap model: here, the same."""
        return repeated(state, num_steps(draws))

    def agree(self, state: Any, draw: Any, info: Any) -> Any:
        """Return the draw by which a tie is decided as it was in ``info``; here, there are none."""
        return draw

    def margin(self, info: Any) -> jax.Array:
        """Return how far the transition was from deciding otherwise; here, nothing is decided."""
        return jnp.array(jnp.inf)

    def draw(self, key: jax.Array, position: PyTree | None = None) -> Any:
        """Draw the random numbers of one transition.

        ``position`` gives their number and dtype where the inverse mass matrix does not.
        """
        if not any_traced(key):
            key = require_key("key", key)
        if position is None:
            if self.metric.dim is None:
                raise ValueError("position must be given: the inverse mass matrix has no size")
            position = jnp.zeros(self.metric.dim)
        return self.draw_like(key, position)

    def step(self, state: Any, draw: Any) -> tuple[Any, Any]:
        """Make one transition; deterministic."""
        target = self.target(state.position)
        flat, info = self.transition(target.evaluate, target.enter(state), draw)
        return target.leave(flat), info

    def bind(self, position: PyTree) -> BoundKernel:
        """Return the kernel for positions like ``position``, in whitened coordinates."""
        target = self.target(position)
        size = ravel_pytree(position)[0].size
        if self.metric.dim not in (None, size):
            raise ValueError(
                f"inverse_mass_matrix is for {self.metric.dim} dimensions, the position has {size}"
            )
        chart = self.chart(target)
        recurrence = Recurrence(
            jax.tree_util.Partial(_step, self, target),
            chart,
            jax.tree_util.Partial(_surrogate, self),
            jax.tree_util.Partial(_margin, self),
            jax.tree_util.Partial(_predict, self, chart),
            jax.tree_util.Partial(_agree, self),
        )
        return BoundKernel(
            recurrence,
            lambda key: self.draw_like(key, position),
            target.enter,
            target.leave,
            self.gradients_per_step,
            gradients_per_lift=1,
            method=self.method(size),
            foresight=self.foresight,
            imitate=jax.tree_util.Partial(_imitate, self) if self.foresight else None,
        )

    def target(self, position: PyTree) -> WhitenedTarget:
        """Return the log density in whitened coordinates."""
        return WhitenedTarget(self.logdensity_fn, self.metric, position)

    def chart(self, target: Any) -> Chart:
        """Return the coordinates that the solver moves."""
        return WhitenedChart(target)


LARGEST_DENSE = 32
"""Most coordinates for which a whole Jacobian is formed by default."""


def picard_without_safeguards() -> Newton:
    """Return the method for kernels that shift the state by what their decisions are.

    The linear model is then exact until a decision changes, and a bound on it only slows it down.
    """
    return Newton(Surrogate(), max_norm=None, radius=None)


# Module-level functions, so that two kernels of one class compile to the same program.
def _step(kernel: WhitenedKernel, target: WhitenedTarget, state: Any, draw: Any) -> Any:
    return kernel.transition(target.evaluate, state, draw)


def _surrogate(kernel: WhitenedKernel, *transition: Any) -> jax.Array:
    return kernel.surrogate(*transition)


def _margin(kernel: WhitenedKernel, info: Any) -> jax.Array:
    return kernel.margin(info)


def _predict(kernel: WhitenedKernel, chart: Chart, state: Any, draws: Any) -> Any:
    return kernel.predict(chart, state, draws)


def _agree(kernel: WhitenedKernel, *transition: Any) -> Any:
    return kernel.agree(*transition)


def _imitate(kernel: WhitenedKernel, state: Any, draws: Any) -> Any:
    return kernel.imitate(state, draws)
