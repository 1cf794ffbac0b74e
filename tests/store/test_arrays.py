import sys

import numpy as np
import pytest

from parallel_mcmc.store.arrays import Arrays, Spec
from parallel_mcmc.store.errors import DamagedChunk

SPECS = {
    "group/x": Spec((2, 7, 3), np.dtype("float32"), 1, 3, ("chain", "draw", "x_dim_0")),
    "flag": Spec((4, 2), np.dtype(bool), 0, 1, ("segment", "chain")),
    "none": Spec((2, 7, 0), np.dtype("float64"), 1, 3, ("chain", "draw", "none_dim_0")),
}
X = np.arange(42, dtype=np.float32).reshape(2, 7, 3)


@pytest.fixture
def arrays(tmp_path):
    Arrays.create(tmp_path / "a", SPECS)
    return Arrays.open(tmp_path / "a", SPECS)


def test_chunks_come_back(arrays):
    arrays.write({"group/x": X[:, :3], "none": np.zeros((2, 3, 0))}, 0)
    arrays.write({"group/x": X[:, 3:6]}, 1)
    arrays.write({"group/x": X[:, 6:]}, 2)  # shorter than a chunk
    np.testing.assert_array_equal(arrays.read("group/x", 7), X)
    np.testing.assert_array_equal(arrays.read("group/x", 6), X[:, :6])
    np.testing.assert_array_equal(arrays.read_chunk("group/x", 2), X[:, 6:])
    assert arrays.read("none", 7).shape == (2, 7, 0)
    assert arrays.read_chunk("none", 1).shape == (2, 3, 0)


def test_a_chunk_of_fill_values_is_written(arrays):
    arrays.write({"flag": np.zeros((1, 2), bool)}, 1)
    assert arrays.path("flag", 1).is_file()
    assert not arrays.read_chunk("flag", 1).any()


def test_a_missing_chunk_is_damage(arrays):
    arrays.write({"group/x": X[:, :3]}, 0)
    with pytest.raises(DamagedChunk, match="c.0.1.0 is missing"):
        arrays.read("group/x", 6)
    with pytest.raises(DamagedChunk, match="c.0.1.0 is missing"):
        arrays.read_chunk("group/x", 1)


def test_every_flipped_bit_is_noticed(arrays):
    arrays.write({"group/x": X[:, :3]}, 0)
    path = arrays.path("group/x", 0)
    whole = path.read_bytes()
    for byte in range(len(whole)):
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 16]) + whole[byte + 1 :])
        with pytest.raises(DamagedChunk, match="group/x"):
            arrays.read_chunk("group/x", 0)


def test_a_torn_chunk_is_written_over(arrays):
    arrays.path("group/x", 2).write_bytes(b"torn")
    arrays.write({"group/x": X[:, 6:]}, 2)
    np.testing.assert_array_equal(arrays.read_chunk("group/x", 2), X[:, 6:])


def test_other_arrays_than_expected_are_named(tmp_path, arrays):
    other = SPECS | {"flag": SPECS["flag"]._replace(dtype=np.dtype("int32"))}
    with pytest.raises(ValueError, match=r"a/flag: it must be of \(4, 2\) int32"):
        Arrays.open(tmp_path / "a", other)
    with pytest.raises(ValueError, match="cannot be read: .*a/more"):
        Arrays.open(tmp_path / "a", SPECS | {"more": SPECS["flag"]})
    (tmp_path / "a" / "flag" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read: .*a/flag"):
        Arrays.open(tmp_path / "a", SPECS)


def test_a_dtype_that_cannot_be_stored_is_named(tmp_path):
    import ml_dtypes

    spec = SPECS["flag"]._replace(dtype=np.dtype(ml_dtypes.bfloat16))
    with pytest.raises(ValueError, match="got the dtype bfloat16 of flag"):
        Arrays.create(tmp_path / "b", {"flag": spec})


def test_without_zarr_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r'pip install "parallel_mcmc\[store\]"'):
        Arrays.create(tmp_path / "b", SPECS)
