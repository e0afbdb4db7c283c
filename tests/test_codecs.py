"""The codecs: against the released code's numbers, and what must hold of any codec and weights."""

import numpy as np
import pytest
from conftest import shared

from yt8m_lib.catalogue import CODECS
from yt8m_lib.errors import UserError
from yt8m_lib.methods import codecs
from yt8m_lib.methods.codecs import (
    CodecError,
    StoredVariable,
    allocated,
    entropy,
    fixed_width,
    lossless,
    nf4,
    table,
)

CASES = ["normal", "uniform", "heavy_tail", "shape3", "midpoints", "constant"]
TABLES = ["linear", "quantile", "kmeans"]
ENTROPY = [name for name in CODECS if name.startswith(("entropy", "allocated"))]
PACKED = ["linear_huffman", *ENTROPY]


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
        if codec not in PACKED:
            assert stored.nbytes == CODECS[codec].size(values.shape)


@pytest.mark.parametrize("codec", PACKED)
def test_packed_codes_take_about_the_bytes_that_were_said_beforehand(codec):
    for shape in ((300, 100), (1100, 1000)):
        values = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
        nbytes, said = stored_by(codec, values).nbytes, CODECS[codec].size(shape)
        assert 0.94 * said < nbytes <= said


@pytest.mark.parametrize("codec", CODECS)
def test_the_graph_gives_what_decoding_gives(codec, weights):
    stored = stored_by(codec, weights)
    weight = stored.graph_weight()
    for _ in range(2):
        weight.prepare()
        np.testing.assert_array_equal(weight.value(), stored.decode())
        in_memory = sum(map(nbytes_of, weight.variables))
        weight.forget()
        before = sum(map(nbytes_of, weight.variables))
        beside = sum(stored.arrays[n].nbytes for n in ("ends", "shape") if n in stored.arrays)
        assert before in (stored.nbytes, stored.nbytes - beside)
        assert in_memory in (before, before + weights.nbytes)


def nbytes_of(variable):
    """Bytes of a variable of numbers or of text."""
    value = variable.numpy()
    return sum(map(len, value.reshape(-1))) if value.dtype == object else value.nbytes


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


# --- Packed codes ---


@pytest.mark.parametrize("shape", [(300, 100), (7,), (1,), (5, 3, 11)])
def test_packing_loses_nothing_whatever_the_blocks(shape, monkeypatch):
    monkeypatch.setattr(lossless, "BLOCK", 17)
    codes = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(lossless.unpack(lossless.pack(codes)), codes)


def test_linear_huffman_is_linear_in_fewer_bytes(weights):
    plain, packed = stored_by("linear", weights), stored_by("linear_huffman", weights)
    np.testing.assert_array_equal(packed.decode(), plain.decode())
    assert packed.nbytes < 0.9 * plain.nbytes


def test_the_graph_unpacks_many_blocks_as_decoding_does(weights, monkeypatch):
    for module in (lossless, entropy):
        monkeypatch.setattr(module, "BLOCK", 4096)  # the last one is shorter
    for codec in PACKED:
        stored = stored_by(codec, weights)
        weight = stored.graph_weight()
        weight.prepare()
        assert weight.blocks.shape == [8]
        np.testing.assert_array_equal(weight.value(), stored.decode())


@pytest.mark.parametrize("codec", ENTROPY)
def test_entropy_keeps_to_its_bits_on_whatever_distribution(codec):
    rng = np.random.default_rng(4)
    heavy = lambda n: rng.standard_t(2, n)  # noqa: E731
    for draw in (rng.standard_normal, rng.random, heavy, rng.standard_cauchy):
        values = draw(60_000).astype(np.float32).reshape(300, 200)
        stored = stored_by(codec, values)
        assert 8 * stored.nbytes / values.size <= CODECS[codec].bits
        error = np.abs(stored.decode() - values)
        step = entropy.step_for(values, CODECS[codec].bits)
        assert error.max() <= step * (1 + 1e-5)  # a mean lies anywhere in its cell


def test_at_equal_bits_entropy_errs_a_third_of_nf4(weights):
    values = np.random.default_rng(5).standard_normal((1000, 1000)).astype(np.float32)
    error = lambda codec: np.square(stored_by(codec, values).decode() - values).mean()  # noqa: E731
    at_4_bits, at_4_25 = error("entropy_4"), error("nf4")
    same_bits = at_4_bits * 4 ** -(stored_by("nf4", values).nbytes * 8e-6 - 4)
    assert same_bits < at_4_25 / 1.9
    bound = 4.0**-4  # rate-distortion bound of a normal distribution of variance 1
    assert bound < at_4_bits < 1.6 * bound


def test_values_far_from_all_others_are_kept_as_they_are(weights):
    weights[3, 5], weights[7, 0] = 1e6, -2e5
    stored = stored_by("entropy_4", weights)
    decoded = stored.decode()
    assert decoded[3, 5] == np.float32(1e6) and decoded[7, 0] == np.float32(-2e5)
    near = np.abs(weights) < 10
    assert np.square(decoded - weights)[near].mean() < 0.01


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("count", [1, 5, 24, 1000])
def test_codes_of_fixed_width_come_back(bits, count):
    codes = np.random.default_rng(bits).integers(0, 2**bits, count, dtype=np.uint8)
    packed = fixed_width.pack(codes, bits)
    assert packed.size == fixed_width.bytes_of(count, bits)
    np.testing.assert_array_equal(fixed_width.unpack(packed, bits, count), codes)


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_a_channel_errs_by_half_its_own_step_at_most(bits, weights):
    weights[:, 4] *= 1000  # of which no other channel is to know
    decoded = stored_by(f"channel_{bits}", weights).decode()
    steps = (weights.max(axis=0) - weights.min(axis=0)) / (2**bits - 1)
    assert np.all(np.abs(decoded - weights).max(axis=0) <= steps / 2 * (1 + 1e-4))


def test_nf4_has_the_values_of_its_paper():
    published = [-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0]
    published += [0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626, 0.7230, 1]
    np.testing.assert_allclose(nf4.VALUES, published, atol=5e-5)


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


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "float32"])
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


# --- Bits shared out by sensitivity ---


def test_the_more_sensitive_variable_gets_the_finer_step_and_the_bits_are_kept():
    rng = np.random.default_rng(6)
    weights = [rng.standard_normal((200, 300)).astype(np.float32) for _ in range(3)]
    felt = [1.0, 2.25, 0.49]
    steps = allocated.steps_for(weights, felt, 4.0)
    np.testing.assert_allclose(np.array(steps) / steps[0], [1, 1 / 1.5, 1 / 0.7], rtol=1e-6)
    stored = codecs.encode_weights(weights, codec="allocated_4", sensitivities=felt)
    bits = [8 * variable.nbytes / 60_000 for variable in stored]
    assert np.mean(bits) == pytest.approx(4, abs=0.01) and bits[2] < bits[0] < bits[1]


def test_no_variable_is_rounded_away_because_the_loss_hardly_feels_it():
    rng = np.random.default_rng(6)
    weights = [rng.standard_normal((200, 300)).astype(np.float32) for _ in range(3)]
    steps = allocated.steps_for(weights, [1.0, 1e6, 1e-6], 4.0)
    alone = allocated.step_for(weights[2], 4.0)
    assert steps[2] == pytest.approx(allocated.FARTHEST * alone)
    assert min(steps) == pytest.approx(alone / allocated.FARTHEST, rel=0.02)


def test_sharing_out_lowers_the_loss_that_storing_costs():
    rng = np.random.default_rng(7)
    weights = [rng.standard_normal((100, 200)).astype(np.float32) * s for s in (1, 0.1)]
    felt = [1.0, 3.0]

    def rise(codec: str) -> float:
        stored = codecs.encode_weights(weights, codec=codec, sensitivities=felt)
        assert sum(variable.nbytes for variable in stored) <= 4.02 / 8 * 40_000
        errors = [np.square(v.decode() - w).mean() for v, w in zip(stored, weights, strict=True)]
        return float(np.dot(felt, errors))

    assert rise("allocated_4") < 0.5 * rise("entropy_4")


def test_what_nothing_is_known_of_takes_the_bits_asked_for(weights):
    for felt in (None, [0.0], [0.0, 0.0]):
        some = [weights] * len(felt or [0])
        stored = codecs.encode_weights(some, codec="allocated_4", sensitivities=felt)
        alone = stored_by("entropy_4", weights)
        assert all(variable.nbytes == alone.nbytes for variable in stored)
    zeros = np.zeros((300, 100), np.float32)
    stored = codecs.encode_weights([zeros], codec="allocated_4", sensitivities=[1.0])
    np.testing.assert_array_equal(stored[0].decode(), zeros)
