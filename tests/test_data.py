import numpy as np

from parallel_mcmc.data import load_eight_schools, load_german_credit


def test_german_credit_is_standardised():
    X, y, names = load_german_credit()
    assert X.shape == (1000, 20) and len(names) == 20
    np.testing.assert_allclose(X.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(X.std(axis=0), 1)
    assert y.dtype.kind == "i" and set(y) == {0, 1}


def test_german_credit_has_the_documented_codes():
    # UCI rows 1, 2 and 4: A11 6 A34 A43 1169, A12 48 A32 A43 5951, A11 42 A32 A42 7882. Ratios of
    # differences undo the standardisation.
    X, y, names = load_german_credit()
    duration, amount = X[:, names.index("duration")], X[:, names.index("credit amount")]
    ratio = (duration[1] - duration[0]) / (duration[3] - duration[0])
    np.testing.assert_allclose(ratio, (48 - 6) / (42 - 6))
    ratio = (amount[1] - amount[0]) / (amount[3] - amount[0])
    np.testing.assert_allclose(ratio, (5951 - 1169) / (7882 - 1169))
    assert y[:2].tolist() == [0, 1]


def test_personal_status_has_the_documented_counts_and_order():
    # One copy of these data in circulation has this column sorted.
    X, _, names = load_german_credit()
    status = X[:, names.index("personal status and sex")]
    values, counts = np.unique(status, return_counts=True)
    assert counts.tolist() == [50, 310, 548, 92]
    np.testing.assert_array_equal(status[:3], values[[2, 1, 2]])  # A93, A92, A93


def test_eight_schools_shapes():
    y, sigma = load_eight_schools()
    assert y.shape == sigma.shape == (8,)
    assert (sigma > 0).all()


def test_loaders_return_fresh_arrays():
    load_eight_schools().y[0] = 0.0
    assert load_eight_schools().y[0] == 28.0
