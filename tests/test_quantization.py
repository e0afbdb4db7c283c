"""The codec: against the released one's figures, and what must hold of any weights."""

import numpy as np
import pytest
from conftest import shared

from yt8m_lib.methods import quantization
from yt8m_lib.methods.quantization import Codes, decode, encode

CASES = ["normal", "uniform", "heavy_tail", "shape3", "midpoints", "constant"]


@pytest.fixture
def weights() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((300, 100)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_golden_codes(case):
    with np.load(shared("golden", "quantize.npz")) as golden:
        coded = encode(golden[f"{case}/weights"])
        assert coded.codes.dtype == np.uint8
        assert coded.centroids.dtype == np.float32
        np.testing.assert_array_equal(coded.codes, golden[f"{case}/codes"])
        np.testing.assert_array_equal(coded.centroids, golden[f"{case}/space"])
        np.testing.assert_array_equal(decode(coded), golden[f"{case}/dequantised"])


def test_an_exact_midpoint_takes_the_lower_code():
    values = np.concatenate([np.arange(256), np.arange(255) + 0.5]).astype(np.float32)
    coded = encode(values)
    np.testing.assert_array_equal(coded.codes, np.concatenate([np.arange(256), np.arange(255)]))


@pytest.mark.parametrize("scheme", ["linear", "quantile", "kmeans"])
def test_each_value_takes_its_nearest_centroid(weights, scheme, monkeypatch):
    monkeypatch.setattr(quantization, "BLOCK", 777)  # several blocks, the last one short
    coded = encode(weights, scheme)
    distances = np.abs(weights.reshape(-1, 1) - coded.centroids)
    chosen = np.take_along_axis(distances, coded.codes.reshape(-1, 1).astype(int), axis=1)
    np.testing.assert_allclose(chosen[:, 0], distances.min(axis=1), atol=1e-6)
    assert np.all(np.diff(coded.centroids) >= 0)
    assert decode(coded).shape == weights.shape


def test_linear_errs_by_half_a_step_at_most(weights):
    step = (weights.max() - weights.min()) / 255
    assert np.abs(decode(encode(weights)) - weights).max() <= step / 2 * (1 + 1e-5)


def test_kmeans_errs_less_than_linear_and_float16_least(weights):
    errors = {
        scheme: np.square(decode(encode(weights, scheme)) - weights).mean()
        for scheme in ("linear", "kmeans", "float16")
    }
    assert errors["float16"] < errors["kmeans"] < errors["linear"]


def test_samples_are_bounded_and_seeded(weights, monkeypatch):
    monkeypatch.setattr(quantization, "SAMPLE", 500)
    tables = [encode(weights, "kmeans", seed).centroids for seed in (1, 1, 2)]
    np.testing.assert_array_equal(tables[0], tables[1])
    assert not np.array_equal(tables[0], tables[2])


@pytest.mark.parametrize("scheme", ["linear", "quantile", "kmeans", "float16"])
def test_constant_and_single_values(scheme):
    for values in (np.full((3, 4), 0.25, np.float32), np.array([-7.0], np.float32)):
        np.testing.assert_array_equal(decode(encode(values, scheme)), values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="not all finite"):
        encode(np.array([1.0, bad], np.float32))


def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="beyond float16"):
        encode(np.array([0.0, -70_000.0], np.float32), "float16")


def test_an_unknown_scheme_is_refused(weights):
    with pytest.raises(ValueError, match="valid: linear"):
        encode(weights, "cubic")


def test_only_variables_above_the_limit_are_coded(weights):
    small = np.ones(17_000, np.float32)
    large = np.linspace(0, 1, 17_001, dtype=np.float32)
    stored = quantization.quantize_weights([small, large, weights])
    assert [isinstance(variable, Codes) for variable in stored] == [False, True, True]
    np.testing.assert_array_equal(stored[0], small)
    assert quantization.nbytes(stored) == 4 * 17_000 + (17_001 + 1024) + (30_000 + 1024)
    shapes = [small.shape, large.shape, weights.shape]
    assert quantization.stored_bytes(shapes) == (4 * 64_001, quantization.nbytes(stored))
    halves = quantization.quantize_weights([small, weights], scheme="float16")
    assert quantization.nbytes(halves) == 4 * 17_000 + 2 * 30_000
    plain = quantization.dequantize_weights(halves)
    assert [variable.dtype for variable in plain] == [np.float32] * 2


@pytest.mark.parametrize("scheme", ["linear", "float16"])
def test_saved_and_loaded_weights_are_equal(weights, scheme, tmp_path):
    variables = [np.float32(3.0), *(weights[: n * 10] for n in range(1, 12)), weights]
    stored = quantization.quantize_weights(variables, more_than=5000, scheme=scheme)
    quantization.save(stored, tmp_path / "weights.part")
    loaded = quantization.load(tmp_path / "weights.part")
    assert [type(v) for v in loaded] == [type(v) for v in stored]
    assert quantization.nbytes(loaded) == quantization.nbytes(stored)
    for before, after in zip(stored, loaded, strict=True):
        np.testing.assert_array_equal(decode(before), decode(after))
