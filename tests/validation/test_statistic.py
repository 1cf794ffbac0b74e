import numpy as np
import pytest
from scipy import stats

from validation.statistic import (
    STATISTICS,
    batch_means,
    deviations,
    normal_threshold,
    uniformity,
)


def test_uniformity():
    rng = np.random.default_rng(0)
    ranks = np.stack([rng.integers(0, 100, 500) for _ in range(400)], axis=1)
    values = uniformity(ranks, 99, 20)
    assert stats.kstest(values, "uniform").pvalue > 0.01
    skewed = (100 * rng.beta(1.0, 1.5, size=(500, 1))).astype(int)
    assert uniformity(skewed, 99, 20)[0] < 1e-6
    with pytest.raises(ValueError, match="bins must divide the number of ranks 100, got 7"):
        uniformity(ranks, 99, 7)


def test_batch_means():
    """The error is that of an autoregression, and not that of independent values."""
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(50, 4000, 1))
    values = np.zeros_like(noise)
    for t in range(1, 4000):
        values[:, t] = 0.8 * values[:, t - 1] + noise[:, t]
    mean, error = batch_means(values, 4)
    np.testing.assert_allclose(mean, values.mean((0, 1)), rtol=1e-9)
    np.testing.assert_allclose(error, 5 / np.sqrt(50 * 4000), rtol=0.15)


def test_threshold():
    assert stats.norm.sf(normal_threshold(0.01, 5)) * 2 * 5 == pytest.approx(0.01)


def test_deviations_are_standard_errors():
    """Draws against the truth of their distribution, of which as many draws are known."""
    rng = np.random.default_rng(2)
    z = stats.norm.ppf([0.05, 0.5, 0.95])
    truth = dict(zip(STATISTICS, [0.0, 1.0, *z], strict=True)) | {"mcse_mean": 1 / np.sqrt(4000)}
    reference = {statistic: {"x": value} for statistic, value in truth.items()}
    found = [deviations({"x": rng.normal(size=(4, 1000))}, reference) for _ in range(60)]
    for statistic in STATISTICS:
        # Half of the variance is in the reference, which is exact here.
        squares = [2 * d["x", statistic] ** 2 for d in found]
        assert np.mean(squares) == pytest.approx(1, abs=0.55), statistic
