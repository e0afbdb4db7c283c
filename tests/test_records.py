import warnings

import numpy as np
import pytest
import tensorflow as tf
from conftest import shared

from yt8m_lib.catalogue import RECORD_KINDS
from yt8m_lib.data import on_disk, records, within_video
from yt8m_lib.data.record_kinds import ParsedVideos, RecordKind, example
from yt8m_lib.data.records import DataError, FrameVideo, MeanVideo, Records, in_order
from yt8m_lib.data.video_level import VIDEO_LEVEL
from yt8m_lib.settings import ROOT, Data, Params

SMALL = Data(classes=10, vocabulary=12)
CACHES = [False, True, "disk"]


@pytest.fixture(autouse=True)
def cache_folder(tmp_path, monkeypatch):
    """Where columns of decoded videos lie."""
    monkeypatch.setattr(on_disk, "FOLDER", str(tmp_path / "cache"))
    return tmp_path / "cache" / "columns"


def frame_videos(count, prefix="v", longest=5, seed=0):
    random = np.random.default_rng(seed)
    return [
        FrameVideo(
            f"{prefix}{i:03d}".encode(),
            [i % 10, 3],
            random.integers(0, 256, (random.integers(1, longest + 1), 1152), np.uint8),
        )
        for i in range(count)
    ]


def mean_videos(count, seed=0):
    random = np.random.default_rng(seed)
    means = np.clip(random.standard_normal((count, 1152)) * 0.6, -1.99, 2.0)
    return [MeanVideo(f"m{i:03d}".encode(), [i % 10], m.astype("f")) for i, m in enumerate(means)]


@pytest.fixture
def files(tmp_path):
    """Three frame-level shards of 40 videos each."""
    paths = [str(tmp_path / f"train{i}.tfrecord") for i in range(3)]
    for i, path in enumerate(paths):
        assert records.write_frame_records(path, frame_videos(40, f"s{i}-", seed=i)) == 40
    return paths


@pytest.fixture
def mean_file(tmp_path):
    path = str(tmp_path / "means.tfrecord")
    records.write_records(path, mean_videos(50), VIDEO_LEVEL)
    return path


def columns(dataset, *names):
    """A column of all batches in turn, for each name."""
    batches = list(dataset)
    found = [[row for batch in batches for row in batch[name].numpy()] for name in names]
    return found if len(names) > 1 else found[0]


def edited(source, target, edit):
    """Copy a frame-level shard, each video changed by ``edit(place, SequenceExample)``."""
    with tf.io.TFRecordWriter(str(target)) as writer:
        for i, record in enumerate(tf.data.TFRecordDataset(source).as_numpy_iterator()):
            video = tf.train.SequenceExample.FromString(record)
            edit(i, video)
            writer.write(video.SerializeToString())
    return str(target)


def dequantised(frames):
    return frames.astype(np.float64) * 4 / 255 + 4 / 512 - 2


# Frame level


def test_frames_survive_a_round_trip(files):
    videos = [video for i in range(3) for video in frame_videos(40, f"s{i}-", seed=i)]
    place = 0
    for batch in Records(files, SMALL).batches(32):
        assert batch["frames"].dtype == tf.uint8 and batch["num_frames"].dtype == tf.int32
        assert batch["labels"].dtype == tf.float32 and batch["labels"].shape[1] == 10
        assert batch["frames"].shape[1] == max(batch["num_frames"])
        for i, n in enumerate(batch["num_frames"].numpy()):
            video = videos[place]
            assert batch["id"][i] == video.id and n == len(video.frames)
            np.testing.assert_array_equal(batch["frames"][i, :n], video.frames)
            assert not batch["frames"][i, n:].numpy().any()
            assert set(np.flatnonzero(batch["labels"][i])) == set(video.labels)
            place += 1
    assert place == len(videos)


def test_reader_equals_the_published_one():
    file, golden = shared("golden", "reader.tfrecord"), np.load(shared("golden", "reader.npz"))
    (batch,) = Records([str(file)], Data()).batches(8)
    assert [i.decode() for i in batch["id"].numpy()] == ["aaaa", "bbbb", "cccc", "dddd", "eeee"]
    for i, name in enumerate(id.decode() for id in batch["id"].numpy()):
        n = int(batch["num_frames"][i])
        assert n == golden[f"{name}/num_frames"][0]
        assert set(np.flatnonzero(batch["labels"][i])) == set(golden[f"{name}/labels"])
        frames = dequantised(batch["frames"][i, :n].numpy())
        matrix = golden[f"{name}/matrix"]  # [300, 1152], or rows 0, 1, the last and a padding one
        places = [0, 1, n - 1] if len(matrix) < 10 else range(n)
        np.testing.assert_allclose(frames[places], matrix[: len(places)], atol=1e-6)
        assert not matrix[len(places) :].any()
        sums = golden[f"{name}/row_sums_float64"]
        np.testing.assert_allclose(frames.sum(axis=1), sums[:n], atol=1e-3)
        assert not sums[n:].any()


def test_long_videos_are_cut_at_max_frames(files):
    whole, cut = (
        columns(Records(files, data).batches(40), "frames", "num_frames")
        for data in (SMALL, SMALL.model_copy(update={"max_frames": 2}))
    )
    assert max(whole[1]) == 5 and max(cut[1]) == 2
    for long, short, n in zip(whole[0], cut[0], cut[1], strict=True):
        np.testing.assert_array_equal(long[:n], short[:n])


def test_labels_beyond_the_classes_are_dropped(tmp_path):
    path = str(tmp_path / "x.tfrecord")
    frames = np.zeros((1, 1152), np.uint8)
    records.write_frame_records(path, [FrameVideo(b"a", [2, 10, 11], frames)])
    (batch,) = Records([path], SMALL).batches(1)
    assert np.flatnonzero(batch["labels"][0]).tolist() == [2]


@pytest.mark.parametrize("label", [12, -1, 2**40])
def test_labels_out_of_the_vocabulary_name_the_video(tmp_path, label):
    path = str(tmp_path / "x.tfrecord")
    frames = np.zeros((1, 1152), np.uint8)
    videos = [FrameVideo(b"good", [1], frames), FrameVideo(b"culprit", [2, label], frames)]
    records.write_frame_records(path, videos)
    with pytest.raises(DataError, match=r"x\.tfrecord: culprit: labels .* vocabulary"):
        list(Records([path], SMALL).batches(2))


def test_empty_labels_are_allowed_and_missing_ones_are_not(files, tmp_path):
    def empty(i, video):
        del video.context.feature["labels"].int64_list.value[:]

    def missing(i, video):
        if i == 7:
            del video.context.feature["labels"]

    path = edited(files[0], tmp_path / "empty.tfrecord", empty)
    assert not np.any(columns(Records([path], SMALL).batches(16), "labels"))
    path = edited(files[0], tmp_path / "missing.tfrecord", missing)
    with pytest.raises(DataError, match=r"missing\.tfrecord: s0-007: feature labels missing"):
        list(Records([path], SMALL).batches(16))
    batches = list(Records([path], SMALL, labels=False).batches(16))
    assert len(batches) == 3 and "labels" not in batches[0]


def test_broken_frames_name_the_video(files, tmp_path):
    def shorter_audio(i, video):
        if i == 5:
            video.feature_lists.feature_list["audio"].feature.add().bytes_list.value.append(b"")

    def small_frame(i, video):
        if i == 6:
            frame = video.feature_lists.feature_list["rgb"].feature[0].bytes_list
            frame.value[0] = frame.value[0][:1000]

    for edit, message in ((shorter_audio, "audio frames are not 128"), (small_frame, "1024 bytes")):
        path = edited(files[0], tmp_path / "broken.tfrecord", edit)
        with pytest.raises(DataError, match=rf"broken\.tfrecord: s0-00[56]: .*{message}"):
            list(Records([path], SMALL).batches(16))


def test_wrong_level_and_unreadable_shards_are_refused_at_once(files, mean_file, tmp_path):
    with pytest.raises(DataError, match=r"`data\.level: video`"):
        Records([mean_file], SMALL)
    with pytest.raises(DataError, match=r"`data\.level: frame`"):
        Records(files, SMALL.model_copy(update={"level": "video"}))
    text, empty, other = (tmp_path / f"{name}.tfrecord" for name in ("text", "empty", "other"))
    text.write_text("not a record " * 10)
    empty.touch()
    with tf.io.TFRecordWriter(str(other)) as writer:
        writer.write(example(id=b"abcd", pixels=b"0").SerializeToString())
    for path in (text, empty, other, tmp_path / "nowhere.tfrecord"):
        with pytest.raises(DataError, match=path.name):
            Records([str(path)], SMALL)


# Order


@pytest.mark.parametrize("cache", CACHES)
def test_order_is_decided_by_the_seed_alone(files, cache):
    data = SMALL.model_copy(update={"cache": cache})
    videos = Records(files, data)
    tf.random.set_seed(1)
    first = columns(videos.batches(16, seed=(1, 2)), "id")
    tf.random.set_seed(2)
    again = columns(Records(files, data).batches(16, seed=(1, 2)), "id")
    other = columns(videos.batches(16, seed=(1, 3)), "id")
    in_order = columns(videos.batches(16), "id")
    assert first == again and first != other and first != in_order
    assert sorted(first) == sorted(other) == in_order
    shards = [id[:2] for id in first[:20]]
    assert len(set(shards)) == 3  # shards are mixed


@pytest.mark.parametrize("cache", CACHES)
def test_cached_videos_can_be_read_by_length_and_put_back_in_order(files, cache):
    videos = Records(files, SMALL.model_copy(update={"cache": cache}))
    batches = list(videos.batches(16, by_length=True))
    lengths = np.concatenate([batch["num_frames"] for batch in batches])
    places = [batch.get("place") for batch in batches]
    assert len(set(lengths)) > 1 and (np.diff(lengths) >= 0).all() == bool(cache)
    assert all(b["frames"].shape[1] == max(b["num_frames"]) for b in batches)
    ids = np.concatenate([batch["id"] for batch in batches])[in_order(places)]
    assert ids.tolist() == columns(videos.batches(16), "id")


@pytest.mark.parametrize("cache", CACHES)
def test_the_end_of_an_epoch_waits_for_no_thread_that_tunes_its_reading(files, cache):
    videos = Records(files, SMALL.model_copy(update={"cache": cache}))
    assert videos.batches(16).options().autotune.enabled is False


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("seed", [None, (3, 4)])
def test_resuming_with_skip_gives_the_rest_of_the_epoch(files, cache, seed):
    videos = Records(files, SMALL.model_copy(update={"cache": cache}))
    whole = list(videos.batches(16, seed, drop_remainder=True))
    rest = list(videos.batches(16, seed, skip=3, drop_remainder=True))
    assert len(whole) == 7 and len(rest) == 4  # 120 videos
    for before, after in zip(whole[3:], rest, strict=True):
        for name, value in before.items():
            np.testing.assert_array_equal(value, after[name])


@pytest.mark.parametrize("cache", CACHES[1:])
def test_cached_videos_equal_read_ones_and_survive_the_shards(files, cache):
    cached = Records(files, SMALL.model_copy(update={"cache": cache}))
    for read, kept in zip(Records(files, SMALL).batches(50), cached.batches(50), strict=True):
        for name, value in read.items():
            assert value.dtype == kept[name].dtype
            np.testing.assert_array_equal(value, kept[name])
    for file in files:
        tf.io.gfile.rename(file, f"{file}.gone")
    assert len(columns(cached.batches(50, seed=(1, 1)), "id")) == 120


ON_DISK = SMALL.model_copy(update={"cache": "disk"})


def test_columns_on_the_disk_serve_later_processes_and_other_settings_have_their_own(
    files, cache_folder, monkeypatch
):
    before = columns(Records(files, ON_DISK).batches(16, seed=(1, 2)), "frames", "labels")
    made = sorted(path.name for path in cache_folder.iterdir())
    assert len(made) == 3 and [name[:6] for name in made] == ["train0", "train1", "train2"]
    monkeypatch.setattr(Records, "_of", lambda *_: pytest.fail("parsed again"))
    after = columns(Records(files, ON_DISK).batches(16, seed=(1, 2)), "frames", "labels")
    for one, other in zip(before, after, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)
    monkeypatch.undo()
    fewer = ON_DISK.model_copy(update={"max_frames": 2, "cache_folder": str(cache_folder.parent)})
    assert max(columns(Records(files, fewer).batches(16), "num_frames")) == 2
    assert len([*cache_folder.iterdir()]) == 6


def test_columns_that_were_damaged_are_named(files, cache_folder):
    list(Records(files, ON_DISK).batches(16))
    (folder,) = cache_folder.glob("train1*")
    frames = folder / on_disk.FRAMES
    content = bytearray(frames.read_bytes())
    content[1000] ^= 1
    frames.write_bytes(content)
    with pytest.raises(DataError, match=r"train1.*damaged\. Delete that folder"):
        list(Records(files, ON_DISK).batches(16))
    frames.write_bytes(content[:-1152])
    with pytest.raises(DataError, match=r"train1.*damaged\. Delete that folder"):
        list(Records(files, ON_DISK).batches(16))


def test_a_shard_that_cannot_be_read_leaves_no_columns(files, cache_folder):
    tf.io.gfile.copy(files[0], files[1], overwrite=True)
    with open(files[1], "r+b") as shard:
        shard.seek(2000)
        shard.write(b"damage")
    with pytest.raises(DataError, match=r"train1\.tfrecord"):
        list(Records(files, ON_DISK).batches(16))
    assert [path.name[:6] for path in cache_folder.iterdir()] == ["train0"]


# Video level


def test_expansion_keeps_means_and_is_the_same_everywhere(mean_file):
    videos = Records([mean_file], SMALL.model_copy(update={"level": "video", "frames": 24}))
    ids, frames = columns(videos.batches(50), "id", "frames")
    other_ids, other_frames = columns(videos.batches(7, seed=(5, 6)), "id", "frames")
    assert ids != other_ids
    others = dict(zip(other_ids, other_frames, strict=True))
    for id, video, given in zip(ids, frames, mean_videos(50), strict=True):
        np.testing.assert_array_equal(video, others[id])
        error = np.abs(dequantised(video).mean(axis=0) - given.mean)
        assert error.mean() < 0.002 and error.max() < 0.15  # a byte is 0.016
        assert video.std(axis=0).mean() > 20
    assert not np.array_equal(frames[0] - frames[0].mean(0), frames[1] - frames[1].mean(0))


def test_one_frame_is_the_mean_and_warns(mean_file):
    data = SMALL.model_copy(update={"level": "video", "frames": 1})
    with pytest.warns(UserWarning, match="rounding noise"):
        frames = columns(Records([mean_file], data).batches(50), "frames")
    means = np.stack([video.mean for video in mean_videos(50)])
    np.testing.assert_allclose(dequantised(np.stack(frames)[:, 0]), means, atol=0.51 * 4 / 255)


def test_real_means_are_kept():
    file = str(shared("yt8m_video", "validate0000.tfrecord"))
    ids, frames = columns(Records([file], Data(level="video")).batches(128), "id", "frames")
    real = {}
    for record in tf.data.TFRecordDataset(file).as_numpy_iterator():
        video = tf.train.Example.FromString(record).features.feature
        values = [video[name].float_list.value for name in ("mean_rgb", "mean_audio")]
        real[video["id"].bytes_list.value[0]] = np.concatenate(values)
    assert list(real) == ids
    error = np.abs(dequantised(np.stack(frames)).mean(axis=1) - np.stack(list(real.values())))
    assert error.mean() < 0.002 and error.max() < 0.15


# A kind of one's own


class Packed(RecordKind):
    """All frames of a video in one bytes value, and other names for id and labels."""

    name = "packed"
    id_feature = "video"
    labels_feature = "tags"

    def recognises(self, record):
        return "pixels" in record.context.feature

    def parse(self, records, data):
        pixels = {"pixels": tf.io.FixedLenFeature([], tf.string)}
        parsed = tf.io.parse_example(records, self.context_features | pixels)
        length = tf.strings.length(parsed["pixels"])
        frames = tf.io.decode_raw(parsed["pixels"], tf.uint8, fixed_length=tf.reduce_max(length))
        frames = tf.reshape(frames, [tf.size(length), -1, 1152])  # [B, T, 1152]
        return ParsedVideos(parsed["video"], parsed["tags"], frames, length // 1152)

    def seconds(self, record):
        return len(record.context.feature["pixels"].bytes_list.value[0]) // 1152

    def problems(self, record):
        if not self.seconds(record):
            yield "no frames"

    def serialise(self, video):
        features = {"video": video.id, "tags": video.labels, "pixels": video.frames.tobytes()}
        return example(**features).SerializeToString()


@pytest.fixture
def packed(monkeypatch):
    monkeypatch.setattr(RECORD_KINDS, "places", dict(RECORD_KINDS.places))
    RECORD_KINDS.register("packed", Packed())
    return RECORD_KINDS["packed"]


@pytest.mark.parametrize("cache", CACHES)
def test_a_kind_of_ones_own_reads_like_the_others(files, tmp_path, packed, cache):
    path = str(tmp_path / "packed.tfrecord")
    assert records.write_records(path, frame_videos(40, "s0-"), packed) == 40
    assert records.kind_of_shard(path) is packed
    with pytest.raises(DataError, match=r"`data\.level: packed`"):
        Records([path], SMALL)
    data = SMALL.model_copy(update={"level": "packed", "cache": cache})
    for mine, theirs in zip(
        Records([path], data).batches(16), Records(files[:1], SMALL).batches(16), strict=True
    ):
        for name, value in theirs.items():
            assert mine[name].dtype == value.dtype
            np.testing.assert_array_equal(mine[name], value)


def test_a_kind_of_ones_own_is_inspected_and_checked(tmp_path, packed):
    path = str(tmp_path / "packed.tfrecord")
    videos = [*frame_videos(3), FrameVideo(b"culprit", None, np.zeros((0, 1152), np.uint8))]
    records.write_records(path, videos, packed)
    row = records.inspect([path], 12).loc[0]
    assert (row.level, row.videos, row.frames_min) == ("packed", 4, 0)
    assert row.bad == "culprit: no frames (videos with problems: 1)"
    data = SMALL.model_copy(update={"level": "packed"})
    with pytest.raises(DataError, match="culprit: no frames"):
        list(Records([path], data).batches(4))


# Soft targets


@pytest.fixture
def sidecars(files, tmp_path):
    """Soft targets of the three shards: class 3 at 0.5, class i % 10 at 0.25."""
    paths = records.sidecar_paths(files, tmp_path / "soft")
    for i, path in enumerate(paths):
        videos = frame_videos(40, f"s{i}-", seed=i)
        classes = np.array([[3, (j + 1) % 10 if j % 10 != 2 else 5] for j in range(40)])
        confidences = np.tile([0.5, 0.25], (40, 1))
        records.write_soft_targets(path, [v.id for v in videos], classes, confidences)
    return paths


@pytest.mark.parametrize("cache", CACHES)
def test_soft_targets_follow_their_videos(files, sidecars, cache):
    videos = Records(files, SMALL.model_copy(update={"cache": cache}))
    taught = videos.with_soft_targets(sidecars)
    batches = list(taught.batches(32, seed=(1, 2)))
    for batch in batches:
        assert batch["soft_targets"].dtype == tf.float32
        for id, row in zip(batch["id"].numpy(), batch["soft_targets"].numpy(), strict=True):
            j = int(id[-3:])
            expected = np.zeros(10)
            expected[(j + 1) % 10 if j % 10 != 2 else 5], expected[3] = 0.25, 0.5
            np.testing.assert_array_equal(row, expected)
    assert [id for b in batches for id in b["id"].numpy()] == columns(
        videos.batches(32, seed=(1, 2)), "id"
    )
    if cache:
        assert taught._memory is videos._memory


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("count", [39, 41, 40])
def test_soft_targets_of_other_videos_are_refused(files, sidecars, cache, count):
    ids = [video.id for video in frame_videos(40, "s0-")] + [b"more"]
    if count == 40:
        ids[10] = b"stranger"
    given = np.zeros((count, 1))
    records.write_soft_targets(sidecars[0], ids[:count], given, given)
    videos = Records(files[:1], SMALL.model_copy(update={"cache": cache}), sidecars[:1])
    message = r"s0-010.*stranger|of 40 other videos" if count == 40 else f"{count} (soft|other)"
    with pytest.raises(DataError, match=message):
        list(videos.batches(16))


def test_missing_sidecars_and_shared_names_are_refused(files, sidecars):
    tf.io.gfile.remove(sidecars[1])
    with pytest.raises(DataError, match=r"train1\.tfrecord"):
        Records(files, SMALL, sidecars)
    with pytest.raises(DataError, match="share the name"):
        records.sidecar_paths(["a/x.tfrecord", "b/x.tfrecord"], "soft")


def test_a_killed_write_leaves_no_half_shard(tmp_path):
    path = tmp_path / "x.tfrecord"

    def killed():
        yield from frame_videos(3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        records.write_frame_records(path, killed())
    assert not list(tmp_path.iterdir())


# Inspection


def test_inspection_finds_what_is_wrong_and_goes_on(files, mean_file, tmp_path):
    shard = bytearray(tf.io.gfile.GFile(files[1], "rb").read())
    shard[len(shard) // 2] ^= 1
    flipped, cut = tmp_path / "flipped.tfrecord", tmp_path / "cut.tfrecord"
    flipped.write_bytes(shard)
    cut.write_bytes(shard[: len(shard) // 4])

    def worse(i, video):
        if i == 3:
            del video.feature_lists.feature_list["audio"].feature[-1]

    uneven = edited(files[0], tmp_path / "uneven.tfrecord", worse)
    table = records.inspect([str(flipped), str(cut), uneven, files[0], mean_file], 12)
    assert table["path"].tolist()[3:] == [files[0], mean_file]
    assert 0 < table["videos"][1] < table["videos"][0] < 40
    assert "damaged after" in table["bad"][0] and "damaged after" in table["bad"][1]
    assert "s0-003" in table["bad"][2] and "audio" in table["bad"][2]
    assert table["bad"].tolist()[3:] == ["", ""]
    assert table["videos"].tolist()[2:] == [40, 40, 50]
    assert table["level"].tolist()[3:] == ["frame", "video"]
    lengths = [len(video.frames) for video in frame_videos(40, "s0-")]
    good = table.loc[3]
    assert (good.frames_min, good.frames_max) == (min(lengths), max(lengths))
    assert good.frames_mean == pytest.approx(np.mean(lengths))
    assert good.labels_mean == 2
    narrow = records.inspect(files[:1], 5)["bad"][0]
    assert "outside 0..4" in narrow and "(videos with problems: 20)" in narrow


def test_a_damaged_shard_stops_reading(files, tmp_path):
    shard = bytearray(tf.io.gfile.GFile(files[1], "rb").read())
    shard[len(shard) // 2] ^= 1
    path = tmp_path / "flipped.tfrecord"
    path.write_bytes(shard)
    with pytest.raises(DataError, match=r"flipped\.tfrecord: damaged after"):
        list(Records([str(path)], SMALL).batches(8, seed=(1, 1)))


# Shards


def test_split_hashes_names_and_leaves_no_side_empty():
    files = [f"/data/validate{i:04d}.tfrecord" for i in range(200)]
    train, validation = records.split(files, 0.75, 1)
    assert sorted(train + validation) == files and 130 < len(train) < 170
    moved = [f.replace("/data", "/elsewhere") for f in files[:100] + files[101:]]
    others = records.split(moved, 0.75, 1)[0]  # another folder, one shard less
    assert {f.rsplit("/")[-1] for f in others} == {f.rsplit("/")[-1] for f in train} - {
        files[100].rsplit("/")[-1]
    }
    assert records.split(files, 0.75, 2)[0] != train
    for seed in range(20):
        for share in (0.0, 0.5, 1.0):
            assert all(records.split(files[:2], share, seed))
    with pytest.raises(DataError, match="two or more"):
        records.split(files[:1], 0.75, 1)


def test_find_excludes_and_says_when_nothing_is_left(files, tmp_path):
    pattern = str(tmp_path / "*.tfrecord")
    assert records.find(pattern) == files
    assert records.find(pattern, ["train1.tfrecord"]) == [files[0], files[2]]
    with pytest.raises(DataError, match="nothing matches"):
        records.find(str(tmp_path / "*.nothing"))
    with pytest.raises(DataError, match="excluded"):
        records.find(files[0], ["train0.tfrecord"])


def test_shards_of_an_experiment(files, tmp_path):
    def experiment(**data):
        return Params.model_validate({"experiment": "x", "models": {}, "data": data})

    pattern = str(tmp_path / "*.tfrecord")
    train, validation = records.shards(experiment(files=pattern))
    assert sorted(train + validation) == files and train and validation
    assert records.shards(experiment(train=files[0], validation=files[1])) == (
        files[:1],
        files[1:2],
    )
    with pytest.raises(DataError, match=r"data\.files"):
        records.shards(experiment())
    with pytest.raises(DataError, match=str(ROOT)):
        records.shards(experiment(files="nowhere/*.tfrecord"))


def test_digest_sees_names_sizes_and_first_records(files, tmp_path):
    before = records.digest(files)
    assert records.digest(files) == before
    assert records.digest(files[:2]) != before and records.digest(files[::-1]) != before
    records.write_frame_records(files[0], frame_videos(41, "s0-"))
    longer = records.digest(files)
    videos = frame_videos(41, "s0-")
    videos[0] = videos[0]._replace(id=b"t0-000")
    records.write_frame_records(files[0], videos)
    assert len({before, longer, records.digest(files)}) == 3


def test_within_video_process_has_the_measured_shape():
    """Of two real clips: see within_video; 200 s, means as wide as the real ones'."""
    random = np.random.default_rng(0)
    means = (random.standard_normal((24, 1152)) * np.linspace(0.6, 0.42, 1152)).astype("f")
    seeds = within_video.seeds_of(tf.constant([f"clip{i}" for i in range(24)]))
    count = tf.fill([24], 200)
    frames = within_video.frames_around(tf.constant(means), count, seeds, 200).numpy()
    deviation = dequantised(frames) - dequantised(frames).mean(axis=1, keepdims=True)
    power = (deviation**2).mean(axis=(1, 2))

    def correlation(lag):
        return ((deviation[:, :-lag] * deviation[:, lag:]).mean(axis=(1, 2)) / power).mean()

    shares = []
    for clip in deviation:
        spectrum = np.linalg.svd(clip, compute_uv=False) ** 2
        shares.append(spectrum[:5].sum() / spectrum.sum())
    assert 0.60 < power.mean() < 0.77
    assert 0.45 < correlation(1) < 0.53
    assert 0.20 < correlation(3) < 0.30
    assert abs(correlation(10)) < 0.04
    assert 0.27 < np.mean(shares) < 0.35
    for end in (0, 255):
        assert 0.01 < (frames == end).mean() < 0.022


def test_no_warning_for_many_frames(mean_file):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        Records([mean_file], SMALL.model_copy(update={"level": "video"}))
