"""Statistics of the tests: ranks, their uniformity, errors of means."""

import arviz as az
import numpy as np
from scipy import stats

# The statistics of a reference: how ArviZ names the method, and how draws give them.
STATISTICS = {
    "mean": ({"method": "mean"}, np.mean),
    "sd": ({"method": "sd"}, lambda draws: np.std(draws, ddof=1)),
    "q05": ({"method": "quantile", "prob": 0.05}, lambda draws: np.quantile(draws, 0.05)),
    "q50": ({"method": "quantile", "prob": 0.5}, lambda draws: np.quantile(draws, 0.5)),
    "q95": ({"method": "quantile", "prob": 0.95}, lambda draws: np.quantile(draws, 0.95)),
}


def uniformity(ranks, num_draws, bins):
    """Return the p-value of ranks on ``0 … num_draws`` being uniform, by Pearson's chi-square.

    ``ranks`` has the shape ``(replications, quantities)``; there is a p-value for each quantity.
    """
    if (num_draws + 1) % bins:
        raise ValueError(f"bins must divide the number of ranks {num_draws + 1}, got {bins}")
    width = (num_draws + 1) // bins
    counts = [np.bincount(column // width, minlength=bins) for column in np.asarray(ranks).T]
    return np.array([stats.chisquare(count).pvalue for count in counts])


def batch_means(values, batches):
    """Return mean and standard error of correlated values, ``(chains, steps, quantities)``.

    The error is that of the means of ``batches`` equal parts of every chain, each taken for
    independent of the others.
    """
    values = np.asarray(values)
    chains, steps, quantities = values.shape
    length = steps // batches
    parts = values[:, : batches * length].reshape(chains * batches, length, quantities).mean(1)
    return parts.mean(0), parts.std(0, ddof=1) / np.sqrt(len(parts))


def normal_threshold(level, count):
    """Return how large one of ``count`` absolute z-scores is with probability ``level`` at most."""
    return stats.norm.isf(level / (2 * count))


def deviations(draws, reference):
    """Return how far statistics of draws are from a reference, in combined standard errors.

    Parameters
    ----------
    draws
        Draws of every parameter, ``(chains, draws)``.
    reference
        Of every statistic and of ``mcse_mean`` a dictionary from parameters to values. The sample
        size behind ``mcse_mean`` gives the error of the other statistics, together with what the
        draws tell of their distribution.

    Returns
    -------
    Dictionary from pairs of parameter and statistic to deviations.
    """
    found = {}
    for name, values in draws.items():
        size = (reference["sd"][name] / reference["mcse_mean"][name]) ** 2
        for statistic, (method, function) in STATISTICS.items():
            error = float(az.mcse(values, **method))
            own_size = float(az.ess(values, **method))
            difference = abs(function(values) - reference[statistic][name])
            found[name, statistic] = difference / (error * np.sqrt(1 + own_size / size))
    return found
