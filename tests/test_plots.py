import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import parallel_mcmc as pmc
from parallel_mcmc.plots import (
    Iterations,
    animate_iterations,
    estimate_lyapunov,
    plot_convergence,
    plot_front,
    plot_iterations,
    plot_lyapunov,
    plot_overlay,
    plot_residuals,
    plot_trace,
    record_iterations,
)

CHAINS, DRAWS = 4, 60


@pytest.fixture(autouse=True)
def no_pyplot_figures():
    yield
    assert not _pylab_helpers.Gcf.figs


@pytest.fixture(scope="module")
def samples():
    kernel = pmc.mala(lambda q: -0.5 * (q["a"] ** 2 + jnp.sum(q["b"] ** 2)), 0.5)
    start = {"a": jnp.zeros(CHAINS), "b": jnp.zeros((CHAINS, 2))}
    return pmc.sample(
        jax.random.key(0), kernel, start, DRAWS, num_chains=CHAINS, progress_bar=False
    )


def drawn(figure):
    """Render, so that what only fails when drawn fails here."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def rows(figure):
    """Titles of the left axes: the variables."""
    return [ax.get_title(loc="left") for ax in figure.axes[::2]]


def test_convergence_of_one_history():
    figure = drawn(plot_convergence([1.0, 0.1, 1e-9, np.nan, np.nan]))
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "Newton iteration"
    assert "residual" in ax.get_ylabel()
    assert ax.get_legend() is None
    np.testing.assert_array_equal(ax.get_lines()[0].get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(ax.get_lines()[0].get_ydata(), [1.0, 0.1, 1e-9])


def test_convergence_of_several_histories():
    histories = {"dense": [np.inf, 1.0, 1e-3, 0.0, np.nan], "diagonal": jnp.array([1.0, 0.5])}
    figure = drawn(plot_convergence(histories, tolerance=1e-6))
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["dense", "diagonal"]
    dense, infinite, zero, diagonal, *none, tolerance = ax.get_lines()
    np.testing.assert_array_equal(dense.get_xdata(), [2, 3])
    np.testing.assert_array_equal(infinite.get_xdata(), [1])
    np.testing.assert_array_equal(zero.get_xdata(), [4])
    np.testing.assert_array_equal(diagonal.get_xdata(), [1, 2])
    assert not any(len(line.get_xdata()) for line in none)
    assert set(tolerance.get_ydata()) == {1e-6}
    assert {text.get_text().split()[-1] for text in ax.texts} == {"infinite", "tolerance"}


def test_convergence_on_given_axes():
    figure = Figure()
    _, right = figure.subfigures(1, 2)
    ax = right.subplots()
    assert plot_convergence([1.0, 0.1], ax=ax) is figure
    assert ax.get_lines()


@pytest.mark.parametrize("value", [np.inf, 0.0])
def test_a_history_off_the_axis(value):
    figure = drawn(plot_convergence([value, value, np.nan]))
    assert sum(len(line.get_xdata()) for line in figure.axes[0].get_lines()) == 2


def test_a_history_without_numbers_is_refused():
    with pytest.raises(ValueError, match=r"residual_history\['dense'\] must have an entry"):
        plot_convergence({"dense": [np.nan, np.nan]})
    with pytest.raises(ValueError, match="residual_history must have an entry"):
        plot_convergence([])


def test_trace(samples):
    figure = drawn(plot_trace(samples))
    assert isinstance(figure, Figure)
    assert sorted(rows(figure)) == ["a", "b[0]", "b[1]"]
    left, right = figure.axes[:2]
    label = left.get_title(loc="left")
    values = {"a": samples.position["a"]} | {
        f"b[{i}]": samples.position["b"][..., i] for i in range(2)
    }
    for chain, line in enumerate(left.get_lines()):
        np.testing.assert_array_equal(line.get_ydata(), values[label][chain])
    assert left.get_title(loc="right").startswith("R-hat 1.")
    assert figure.axes[-2].get_xlabel() == "draw"
    assert "rank" in figure.axes[-1].get_xlabel()
    # Relative to a uniform histogram: a chain has mean 1, a bin but for ties.
    histograms = np.array([patch.get_data().values for patch in right.patches])
    assert len(histograms) == CHAINS
    np.testing.assert_allclose(histograms.mean(axis=0), 1.0, atol=0.1)
    np.testing.assert_allclose(histograms.mean(axis=1), 1.0)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"chain {i}" for i in range(CHAINS)]


def test_trace_draws_the_worst_first(samples):
    position = {**samples.position, "c": np.ones((CHAINS, DRAWS))}
    position["b"] = position["b"] + np.arange(CHAINS)[:, None, None] * np.array([0.0, 5.0])
    data = samples.to_arviz(
        position=position, coords={"place": ["here", "there"]}, dims={"b": ["place"]}
    )
    assert rows(drawn(plot_trace(data, max_rows=1))) == ["b[there]"]
    assert rows(plot_trace(data))[-1] == "c"
    assert rows(plot_trace(data, var_names=["a"])) == ["a"]


def test_trace_of_one_chain():
    kernel = pmc.mala(lambda q: -0.5 * jnp.sum(q**2), 0.5)
    samples = pmc.sample(jax.random.key(0), kernel, jnp.zeros(1), 41, progress_bar=False)
    figure = drawn(plot_trace(samples))
    assert rows(figure) == ["x[0]"]
    assert figure.axes[0].get_title(loc="right").startswith("R-hat")
    assert not figure.legends


def test_unknown_variables_are_refused(samples):
    with pytest.raises(ValueError, match=r"var_names must be of \['a', 'b'\], got \['nope'\]"):
        plot_trace(samples, var_names=["nope"])
    with pytest.raises(ValueError, match="max_rows must be a positive integer"):
        plot_trace(samples, max_rows=0)


# How the chain was solved.

KERNEL = pmc.mala(lambda q: -0.5 * jnp.sum(q**2 + 0.1 * q**4), 0.3)
START = jnp.zeros(2)


def chain(solver, num_samples=80, window=None):
    return pmc.sample(
        jax.random.key(3),
        KERNEL,
        START,
        num_samples,
        solver=solver,
        window=window,
        progress_bar=False,
    )


@pytest.fixture(scope="module", params=[pytest.param(80, marks=pytest.mark.slow), 16])
def recorded(request):
    return record_iterations(KERNEL, START, jax.random.key(3), 80, window=request.param)


def test_the_last_iterate_is_the_chain(recorded):
    sequential = chain("sequential").position[0]
    np.testing.assert_allclose(recorded.coordinates[-1], sequential, atol=1e-3)
    assert recorded.done[-1] == 80
    assert (np.diff(recorded.done) > 0).all()
    assert len(recorded.residual) == len(recorded.done) == len(recorded.coordinates) - 1
    # What has been found stays: those draws are exact.
    for done, iterate in zip(recorded.done, recorded.coordinates[1:], strict=True):
        np.testing.assert_allclose(iterate[: done - 1], sequential[: done - 1], atol=1e-3)
    stats = chain(pmc.deer(), window=recorded.window).stats
    assert len(recorded.done) == stats.iterations[0]
    # Every evaluation of a step is one of the log density with its gradient, and one to lift it.
    assert 2 * recorded.evaluations == stats.gradient_evaluations[0]
    if recorded.window == 80:
        assert np.isfinite(recorded.residual).all()
    else:
        assert np.isnan(recorded.residual[0, 16:]).all()
        assert np.isnan(recorded.coordinates[0, 16:]).all()


@pytest.mark.slow
def test_iterations_end_where_they_are_told_to():
    recorded = record_iterations(KERNEL, START, jax.random.key(3), 80, max_iterations=2)
    assert len(recorded.done) == 2 and recorded.done[-1] < 80


def test_later_iterations_compile_nothing(caplog):
    def compilations(**options):
        caplog.clear()
        with jax.log_compiles():
            jax.jit(lambda x: x + 1)(0.0)  # what has to be noticed
            recorded = record_iterations(KERNEL, START, jax.random.key(3), 80, window=16, **options)
        seen = [r for r in caplog.records if r.getMessage().startswith("Compiling")]
        return len(seen), len(recorded.done)

    compilations(max_iterations=1)
    few, _ = compilations(max_iterations=1)
    many, iterations = compilations()
    assert few >= 1 and iterations > 5
    assert many == few


def test_residuals_and_front(recorded):
    ax = plot_residuals(recorded)
    drawn(ax.figure)
    assert isinstance(ax, Axes)
    image = ax.get_images()[0].get_array()
    assert image.shape == recorded.residual.shape
    seen = recorded.residual > 0
    np.testing.assert_array_equal(np.ma.getmaskarray(image), ~seen)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("draw", "Newton iteration")
    assert "residual" in ax.figure.axes[1].get_ylabel()

    ax = plot_front(recorded)
    drawn(ax.figure)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["found"], [0, *recorded.done])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Newton iteration", "draw")


def test_iterates_that_run_away_leave_colours_for_the_rest():
    residual = np.array([[np.inf, 1e300, 1.0], [np.nan, 1e-3, 0.0]])
    recorded = Iterations(np.zeros((3, 3, 1)), residual, np.array([1, 3]), 3, 1e-4, 6)
    ax = plot_residuals(recorded)
    drawn(ax.figure)
    assert ax.get_images()[0].norm.vmax == 1e4


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_animation(recorded, tmp_path, suffix):
    file = tmp_path / f"chain.{suffix}"
    animation = animate_iterations(recorded, index=1, file=file, frames_per_second=5)
    from PIL import Image

    with Image.open(file) as image:
        assert image.n_frames == len(recorded.coordinates)
        assert image.size == (800, 340)
        times, pictures = [], []
        for frame in range(image.n_frames):
            image.seek(frame)
            pictures.append(np.asarray(image.convert("RGB"), dtype=int))
            times.append(image.info["duration"])
    assert times[-1] > 3 * times[0] == 3 * 200
    # The colours are those drawn: white, and blue for what is found, at the end alone.
    assert all((p == 255).all(axis=2).mean() > 0.5 for p in pictures)
    blue = [(np.abs(p - [0, 114, 178]).sum(axis=2) < 30).sum() for p in pictures]
    assert blue[-1] > 3 * blue[0]
    ax = animation._fig.axes[0]
    line = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_array_equal(line["iterate"], recorded.coordinates[-1, :, 1])
    assert len(line["found"]) == 80
    animate_iterations(recorded)
    with pytest.raises(ValueError, match="index must be from 0 to 1, got 2"):
        animate_iterations(recorded, index=2)


def test_iterations_against_the_length():
    ax = plot_iterations({"one": [4, 5], "many": [[3, 5, 9], [4, 6, 8]]}, [100, 1000])
    drawn(ax.figure)
    lines = {line.get_label(): line.get_ydata() for line in ax.get_lines()}
    np.testing.assert_array_equal(lines["many"], [5, 6])
    np.testing.assert_array_equal(lines["one a step"], [100, 1000])
    assert ax.get_xscale() == ax.get_yscale() == "log"
    assert (
        "one a step"
        not in plot_iterations(
            {"one": [4, 5]}, [100, 1000], sequential=False
        ).get_legend_handles_labels()[1]
    )
    with pytest.raises(ValueError, match=r"iterations\['one'\] must have one row for"):
        plot_iterations({"one": [4, 5, 6]}, [100, 1000])


def test_overlay():
    parallel, sequential = (chain(solver) for solver in ["parallel", "sequential"])
    ax = plot_overlay(parallel, sequential, index=1, draws=50)
    drawn(ax.figure)
    loop, dots = ax.get_lines()
    np.testing.assert_array_equal(loop.get_ydata(), sequential.position[0, :50, 1])
    np.testing.assert_array_equal(dots.get_ydata(), parallel.position[0, :50, 1])
    assert ax.get_title(loc="right").startswith("largest difference")
    for options, message in [
        ({"chain": 1}, "chain must be from 0 to 0, got 1"),
        ({"index": -1}, "index must be from 0 to 1, got -1"),
        ({"draws": 0}, "draws must be a positive integer"),
    ]:
        with pytest.raises(ValueError, match=message):
            plot_overlay(parallel, sequential, **options)
    with pytest.raises(ValueError, match="equal shapes"):
        plot_overlay(parallel, chain("sequential", 40))


def test_lyapunov_exponent_of_a_linear_chain(x64):
    """HMC on a standard normal that accepts all: ``w' = cos θ w + ...``, and log |cos θ|."""
    kernel = pmc.hmc(lambda q: -0.5 * jnp.sum(q**2), 0.1, jnp.ones(2), 5)
    lyapunov = estimate_lyapunov(kernel, jnp.zeros(2), jax.random.key(0), 200)
    contraction = float(kernel.unit_gaussian(kernel.draw(jax.random.key(0)))[0])
    rates = pmc.sample(
        jax.random.key(0), kernel, jnp.zeros(2), 200, progress_bar=False
    ).info.is_accepted[0]
    np.testing.assert_allclose(lyapunov.growth, np.where(rates, np.log(contraction), 0), atol=1e-9)
    np.testing.assert_allclose(lyapunov.exponent, lyapunov.growth.mean())
    ax = plot_lyapunov(lyapunov)
    drawn(ax.figure)
    running = ax.get_lines()[0].get_ydata()
    np.testing.assert_allclose(running[-1], lyapunov.exponent)
    assert ax.get_title(loc="right").startswith(f"{lyapunov.exponent:.3f}")
    with pytest.raises(ValueError, match="num_samples must be at least 20"):
        estimate_lyapunov(kernel, jnp.zeros(2), jax.random.key(0), 19)


def test_chaotic_chains_have_a_positive_exponent():
    """Long trajectories of two coupled oscillators: neighbours part."""
    kernel = pmc.hmc(lambda q: -2 * (q[0] * q[1]) ** 2 - 0.05 * jnp.sum(q**2), 0.1, None, 100)
    lyapunov = estimate_lyapunov(kernel, jnp.ones(2), jax.random.key(0), 400)
    assert lyapunov.exponent > 4 * lyapunov.standard_error
    ax = plot_lyapunov(lyapunov)
    low, high = ax.get_ylim()
    assert low < 0 < lyapunov.exponent < high
