import pytest

from parallel_mcmc.rows import caches


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Where the caches of a machine are described; nothing so far."""
    monkeypatch.setattr(caches, "CACHES", tmp_path)
    caches.cache_bytes.cache_clear()
    yield tmp_path
    caches.cache_bytes.cache_clear()


def describe(folder, **sizes):
    for name, size in sizes.items():
        (folder / name).mkdir()
        (folder / name / "size").write_text(size)


def test_the_largest_cache_counts(described):
    describe(described, index0="32K\n", index2="1024K\n", index3="32768K\n")
    assert caches.cache_bytes() == 32 * 2**20


@pytest.mark.parametrize("size", ["", "many", "32M"])
def test_what_cannot_be_read_counts_for_nothing(described, size):
    describe(described, index2="512K", index3=size)
    assert caches.cache_bytes() == 512 * 2**10


def test_where_nothing_is_described(described):
    assert caches.cache_bytes() == caches.UNKNOWN_BYTES
