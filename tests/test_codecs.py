"""The codecs: against the released code's numbers, and what must hold of any codec and weights."""

import numpy as np
import pytest
from conftest import shared

from yt8m_lib.catalogue import CODECS
from yt8m_lib.errors import UserError
from yt8m_lib.methods import codecs
from yt8m_lib.methods.codecs import CodecError, StoredVariable, table

CASES = ["normal", "uniform", "heavy_tail", "shape3", "midpoints", "constant"]
TABLES = ["linear", "quantile", "kmeans"]


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((300, 100)).astype(np.float32)


def stored_by(codec: str, values: np.ndarray, seed: int = 0) -> StoredVariable:
    return StoredVariable(codec, CODECS[codec].encode(values, seed))


@pytest.mark.parametrize("case", CASES)
def test_golden_codes(case):
    with np.load(shared("golden", "quantize.npz")) as golden:
        coded = stored_by("linear", golden[f"{case}/weights"])
        codes, centroids = coded.arrays["codes"], coded.arrays["centroids"]
        assert codes.dtype == np.uint8
        assert centroids.dtype == np.float32
        np.testing.assert_array_equal(codes, golden[f"{case}/codes"])
        np.testing.assert_array_equal(centroids, golden[f"{case}/space"])
        np.testing.assert_array_equal(coded.decode(), golden[f"{case}/dequantised"])


# --- What every codec keeps ---


@pytest.mark.parametrize("codec", CODECS)
def test_a_codec_keeps_shapes_and_says_beforehand_how_many_bytes_it_takes(codec, weights):
    for values in (weights, weights.reshape(3, 50, 200), weights.T, weights[0, 0]):
        stored = stored_by(codec, values)
        decoded = stored.decode()
        assert decoded.dtype == np.float32 and decoded.shape == values.shape
        assert stored.nbytes == CODECS[codec].size(values.size)


@pytest.mark.parametrize("codec", CODECS)
def test_the_graph_gives_what_decoding_gives(codec, weights):
    stored = stored_by(codec, weights)
    weight = stored.graph_weight()
    for _ in range(2):
        weight.prepare()
        np.testing.assert_array_equal(weight.value(), stored.decode())
        in_memory = sum(variable.numpy().nbytes for variable in weight.variables)
        weight.forget()
        assert sum(variable.numpy().nbytes for variable in weight.variables) == stored.nbytes
        assert in_memory in (stored.nbytes, stored.nbytes + weights.nbytes)


@pytest.mark.parametrize("codec", CODECS)
def test_constant_and_single_values_are_exact(codec):
    for values in (np.full((3, 4), 0.25, np.float32), np.array([-7.0], np.float32)):
        np.testing.assert_array_equal(stored_by(codec, values).decode(), values)


@pytest.mark.parametrize("codec", CODECS)
def test_saved_and_loaded_weights_are_equal(codec, weights, tmp_path):
    variables = [np.float32(3.0), *(weights[: n * 10] for n in range(1, 12)), weights]
    stored = codecs.encode_weights(variables, more_than=5000, codec=codec)
    codecs.save(stored, tmp_path / "weights.part")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.part"]
    loaded = codecs.load(tmp_path / "weights.part")
    assert [variable.codec for variable in loaded] == [variable.codec for variable in stored]
    assert codecs.nbytes(loaded) == codecs.nbytes(stored)
    for before, after in zip(stored, loaded, strict=True):
        assert list(before.arrays) == list(after.arrays)
        np.testing.assert_array_equal(before.decode(), after.decode())


# --- Which centroid a value takes ---


def test_an_exact_midpoint_takes_the_lower_code():
    values = np.concatenate([np.arange(256), np.arange(255) + 0.5]).astype(np.float32)
    codes = stored_by("linear", values).arrays["codes"]
    np.testing.assert_array_equal(codes, np.concatenate([np.arange(256), np.arange(255)]))


@pytest.mark.parametrize("codec", TABLES)
def test_each_value_takes_its_nearest_centroid(weights, codec, monkeypatch):
    monkeypatch.setattr(table, "BLOCK", 777)  # several blocks, the last one short
    stored = stored_by(codec, weights)
    codes, centroids = stored.arrays["codes"], stored.arrays["centroids"]
    distances = np.abs(weights.reshape(-1, 1) - centroids)
    chosen = np.take_along_axis(distances, codes.reshape(-1, 1).astype(int), axis=1)
    np.testing.assert_allclose(chosen[:, 0], distances.min(axis=1), atol=1e-6)
    assert np.all(np.diff(centroids) >= 0)


def test_linear_errs_by_half_a_step_at_most(weights):
    step = (weights.max() - weights.min()) / 255
    decoded = stored_by("linear", weights).decode()
    assert np.abs(decoded - weights).max() <= step / 2 * (1 + 1e-5)


def test_kmeans_errs_less_than_linear_and_float16_least(weights):
    errors = {
        codec: np.square(stored_by(codec, weights).decode() - weights).mean()
        for codec in ("linear", "kmeans", "float16")
    }
    assert errors["float16"] < errors["kmeans"] < errors["linear"]


@pytest.mark.parametrize("codec", ["kmeans", "quantile"])
def test_samples_are_bounded_and_seeded(weights, codec, monkeypatch):
    monkeypatch.setattr(table, "SAMPLE", 500)
    tables = [stored_by(codec, weights, seed).arrays["centroids"] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])


# --- Whole models ---


def test_only_variables_above_the_limit_are_encoded(weights):
    small = np.ones(17_000, np.float32)
    large = np.linspace(0, 1, 17_001, dtype=np.float32)
    stored = codecs.encode_weights([small, large, weights])
    assert [variable.codec for variable in stored] == ["float32", "linear", "linear"]
    np.testing.assert_array_equal(stored[0].decode(), small)
    assert codecs.nbytes(stored) == 4 * 17_000 + (17_001 + 1024) + (30_000 + 1024)
    shapes = [small.shape, large.shape, weights.shape]
    assert codecs.bytes_of_shapes(shapes) == (4 * 64_001, codecs.nbytes(stored))
    halves = codecs.encode_weights([small, weights], codec="float16")
    assert codecs.nbytes(halves) == 4 * 17_000 + 2 * 30_000
    assert codecs.bytes_of_shapes([(170, 100), (30_000,)], codec="float16") == (
        4 * 47_000,
        codecs.nbytes(halves),
    )
    assert [variable.dtype for variable in codecs.decode_weights(halves)] == [np.float32] * 2


# --- What is refused ---


@pytest.mark.parametrize("codec", [*TABLES, "float16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(codec, bad):
    with pytest.raises(CodecError, match="not all finite"):
        stored_by(codec, np.array([1.0, bad], np.float32))


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(CodecError, match="beyond float16"):
        stored_by("float16", np.array([0.0, -70_000.0], np.float32))


def test_an_unknown_codec_is_refused_even_where_no_variable_needs_it(weights):
    with pytest.raises(ValueError, match="no codec 'linaer'; did you mean 'linear'"):
        codecs.encode_weights([weights], more_than=weights.size, codec="linaer")


def test_a_file_that_names_an_unknown_codec_is_refused(weights, tmp_path):
    path = tmp_path / "weights.npz"
    codecs.save([StoredVariable("cubic", {"codes": weights})], path)
    with pytest.raises(UserError, match=r"weights\.npz: variable 0 was stored with .* 'cubic'"):
        codecs.load(path)
