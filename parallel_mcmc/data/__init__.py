"""Two small data sets on which samplers are compared, shipped with the package.

Sources and licences are in ``README.md`` beside this module.
"""

from __future__ import annotations

import csv
import importlib.resources
from typing import NamedTuple

import numpy as np

__all__ = ["EightSchools", "GermanCredit", "load_eight_schools", "load_german_credit"]


class GermanCredit(NamedTuple):
    """The German credit data: 1000 applicants described by 20 attributes.

    Attributes
    ----------
    X
        Attributes, of shape ``(1000, 20)``; each column has mean 0 and variance 1.
    y
        1 for a bad credit risk, 0 for a good one, of shape ``(1000,)``.
    names
        The names of the columns of ``X``.
    """

    X: np.ndarray
    y: np.ndarray
    names: tuple[str, ...]


class EightSchools(NamedTuple):
    """The eight schools data: estimated effects of coaching, with standard errors.

    Attributes
    ----------
    y
        Estimated effects, of shape ``(8,)``.
    sigma
        Standard errors of the effects, of shape ``(8,)``.
    """

    y: np.ndarray
    sigma: np.ndarray


def load_german_credit() -> GermanCredit:
    """Return the Statlog German credit data, standardised.

    Categories are coded as integers in the order of the UCI documentation and then treated as
    numbers, as is usual where this data set serves to compare samplers.

    Returns
    -------
    GermanCredit
        The attributes, the classes and the names of the attributes.

    Examples
    --------
    >>> from parallel_mcmc.data import load_german_credit
    >>> X, y, names = load_german_credit()
    >>> X.shape, y.shape, int(y.sum())
    ((1000, 20), (1000,), 300)
    >>> names[1], names[4]
    ('duration', 'credit amount')
    """
    source = importlib.resources.files(__name__).joinpath("german_credit.csv")
    with source.open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    table = np.array(rows, dtype=np.int32)
    attributes = table[:, :-1].astype(np.float64)
    X = (attributes - attributes.mean(axis=0)) / attributes.std(axis=0)
    return GermanCredit(X=X, y=table[:, -1], names=tuple(header[:-1]))


def load_eight_schools() -> EightSchools:
    """Return the eight schools data of Rubin (1981).

    Returns
    -------
    EightSchools
        The estimated effects and their standard errors.

    Examples
    --------
    >>> from parallel_mcmc.data import load_eight_schools
    >>> y, sigma = load_eight_schools()
    >>> y
    array([28.,  8., -3.,  7., -1.,  1., 18., 12.])
    """
    return EightSchools(
        y=np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0]),
        sigma=np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0]),
    )
