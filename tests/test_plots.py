import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.figure import Figure

import parallel_mcmc as pmc
from parallel_mcmc.plots import plot_convergence, plot_trace

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
