import pytest

from yt8m_lib import families, params
from yt8m_lib.params import ParamsError
from yt8m_lib.settings import ROOT

# Files that go on with the experiment of another one.
GOES_ON_FROM = {"codecs": "demo", "codecs_video_level": "video_level"}
FILES = sorted((ROOT / "params").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_is_valid_and_opens_with_what_it_is(path):
    loaded = params.load(path)
    assert loaded.experiment == GOES_ON_FROM.get(path.stem, path.stem)
    opening = path.read_text().split("\n\n")[0].splitlines()
    comment = "\n".join(line for line in opening if line.startswith("#"))
    assert "Cost:" in comment and "Command:" in comment


THE_PAPERS = ("netvlad", "fvnet", "dbof", "rnn")


@pytest.mark.parametrize(
    ("name", "of"),
    [
        *((n, THE_PAPERS) for n in ("demo", "video_level", "study", "study_video_level", "paper")),
        *((n, families.teaching()) for n in ("beyond", "beyond_paper")),
    ],
)
def test_every_family_has_three_sizes_to_choose_teachers_from(name, of):
    models = params.load(f"params/{name}.yaml").models.values()
    for family in of:
        assert sum(model.family == family for model in models) >= 3


def test_paper_has_the_published_settings():
    paper = params.load("params/paper.yaml")
    published = {name: m for name, m in paper.models.items() if m.published}
    assert len(published) == 9
    assert (published["FVNet"].clusters, published["FVNet"].hidden) == (96, 1540)
    assert {m.rate for m in published.values()} == {2e-4}
    assert [published[n].batch for n in ("NetVLAD1", "FVNet", "DBoF1", "RNN2", "RNN3")] == [
        160, 80, 80, 256, 220,
    ]  # fmt: skip
    assert published["NetVLAD2"].rate_decay == 0.8 and published["RNN1"].rate_decay == 0.95
    students = paper.distillation.students.values()
    assert len(students) == 15
    across = [s for s in students if paper.models[s.model].family != s.taught_by]
    assert len(across) == 2
    second = next(s for s in students if s.round == 2)
    assert len(paper.teachers_of(second)) == 6


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.clases=3", ["data.clases", "unknown key", "'classes'"]),
        ("data.classes=many", ["data.classes", "'many'", "integer"]),
        ("models.NetVLAD-low.architecture=netvlat", ["architecture", "did you mean 'netvlad'"]),
        ("averaging.shown=[NetVLAD-hi]", ["averaging.shown", "did you mean 'NetVLAD-high'"]),
        ("training.frames=0", ["training.frames", "greater than 0"]),
        ("data={train: a*, files: b*}", ["data", "not both"]),
        ("distillation.teachers=9", ["has 4 teachers", "asks for 9"]),
        ("distillation.students.X={model: GRU-mi, taught_by: rnn}", ["did you mean 'GRU-mid'"]),
        ("other_choices={clean: none.csv}", ["other_choices, 'clean'", "no file", "none.csv"]),
        ("averaging.shown=[logistic]", ["averaging.shown", "logistic", "baseline"]),
        ("models.GRU-mid.hidden=63", ["gru", "multiple of 2"]),
        ("models.GRU-mid.reset_after=3", ["reset_after", "bool", "3"]),
        ("models.GRU-mid.max_pool=true", ["max_pool", "unknown key"]),
        ("quantization.codec=lineal", ["quantization.codec", "did you mean 'linear'"]),
        ("data.level=frames", ["data.level", "did you mean 'frame'"]),
        ("distillation.students.X={model: GRU-mid, taught_by: rn}", ["did you mean 'rnn'"]),
        ("seed=-1", ["seed", "-1", "0"]),
        ("seed=yes", ["seed", "number"]),
        ("synthetic.frames=[10, 6]", ["synthetic", "shortest", "[10, 6]"]),
        ("models.GRU-mid.epochs=1.0e+26", ["epochs", "1e+26"]),
        ("averaging.time_constant=12345678901", ["time_constant", "1000000000"]),
        ("models.GRU-mid.rate=.inf", ["rate", "finite"]),
        ("training.clip_norm=.nan", ["clip_norm", "finite"]),
        ("data={files: a, files: b}", ["--set", "files is given twice"]),
        ("data.files=a*", ["synthetic", "data.files", "synthetic=null"]),
        ("data={train: a, validation: b}", ["synthetic", "data.train"]),
        ("no-equals-sign", ["KEY=VALUE"]),
        ("seed.deeper=1", ["'seed' is a value"]),
    ],
)
def test_a_bad_setting_is_refused_naming_key_value_and_remedy(override, words):
    base = ["seed=1"]
    with pytest.raises(ParamsError) as error:
        params.load("params/demo.yaml", [*base, override])
    for word in words:
        assert word in str(error.value)


def test_a_missing_file_names_the_nearest_one():
    with pytest.raises(ParamsError, match=r"did you mean 'params/demo.yaml'"):
        params.load("params/dem.yaml")


def test_real_data_has_no_default_place():
    loaded = params.load("params/video_level.yaml")
    with pytest.raises(ParamsError, match="DATA="):
        params.check_data(loaded)
    loaded = params.load("params/video_level.yaml", ["data.files=/nowhere/*.tfrecord"])
    with pytest.raises(ParamsError, match=r"data.files: no file matches '/nowhere/\*.tfrecord'"):
        params.check_data(loaded)


def test_data_in_a_folder_with_brackets_are_there(tmp_path):
    folder = tmp_path / "[2018] 100%"
    folder.mkdir()
    (folder / "a.tfrecord").touch()
    for pattern in ("*.tfrecord", "a.tfrecord"):
        params.check_data(
            params.load("params/video_level.yaml", [f"data.files={folder}/{pattern}"])
        )


def test_a_model_overrides_its_family():
    paper = params.load("params/paper.yaml", ["models.RNN1.rate=1.0e-5"])
    assert paper.models["RNN1"].rate == 1e-5
    assert paper.models["RNN2"].rate == 2e-4


def test_a_path_is_taken_as_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for written, path in [
        ("/a [1] #2: b/*", "/a [1] #2: b/*"),
        ("2018-99-99", "2018-99-99"),
        ("'/a b'", "/a b"),
        ("~/yt8m/*", f"{tmp_path}/yt8m/*"),
    ]:
        loaded = params.load("params/video_level.yaml", [f"data.files={written}"])
        assert loaded.data.files == path
    assert params.load("params/smoke.yaml", ["results=~/r"]).folder == tmp_path / "r" / "smoke"


def test_a_file_that_is_there_wins_over_its_reading_as_a_glob(tmp_path):
    for name in ("[1]", "a[1].tfrecord"):
        (tmp_path / name).touch()
        loaded = params.load("params/video_level.yaml", [f"data.files={tmp_path / name}"])
        params.check_data(loaded)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("seed: 1\nmodels: {}\nseed: 2\n", ["seed is given twice, in lines 1 and 3"]),
        ("models:\n  A: {hidden: 1}\n  A: {hidden: 2}\n", ["models.A", "lines 2 and 3"]),
        ("a: [{b: 1,\n  b: 2}]\n", ["a.b", "lines 1 and 2"]),
        ("- 1\n", ["key: value", "list"]),
        ("", ["key: value", "NoneType"]),
        ("a: [1\n", ["not valid YAML"]),
        ("seed: 2018-99-99\n", ["not valid YAML"]),
        ("a: " + "[" * 5000, ["not valid YAML"]),
    ],
)
def test_a_file_that_says_no_one_thing_is_refused(tmp_path, text, words):
    path = write(tmp_path, "odd.yaml", text)
    with pytest.raises(ParamsError) as error:
        params.load(path)
    for word in ["odd.yaml", *words]:
        assert word in str(error.value)


def test_a_file_in_another_encoding_is_named(tmp_path):
    for encoding in ("utf-16", "latin-1"):
        (tmp_path / "u.yaml").write_text("# gr\u00f6\u00dfer\nseed: 1\n", encoding=encoding)
        with pytest.raises(ParamsError, match=r"u.yaml: not UTF-8"):
            params.load(tmp_path / "u.yaml")
    (tmp_path / "bom.yaml").write_text((ROOT / "params" / "smoke.yaml").read_text(), "utf-8-sig")
    assert params.load(tmp_path / "bom.yaml").models


def test_anchors_and_merges_are_no_keys_given_twice(tmp_path):
    text = "families: {netvlad: &f {rate: 0.1}, fvnet: &g {<<: *f, batch: 2, rate: 0.2}}\n"
    text += "models:\n  A: {<<: *g, architecture: lstm, hidden: 2, rate: 0.3}\n"
    loaded = params.load(write(tmp_path, "anchors.yaml", text))
    assert (loaded.models["A"].batch, loaded.models["A"].rate) == (2, 0.3)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_a_run_was_asked_for_reads_back_the_same(tmp_path, path):
    asked = ["seed=7", "experiment=kept", "results=/a #1"]
    settings = params.read(path, asked)
    params.write(settings, tmp_path / "params.yaml", "two\nlines")
    kept = params.load(tmp_path / "params.yaml")
    assert kept == params.load(path, asked) and kept.seed == 7


def write(folder, name: str, text: str) -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_a_file_based_on_another_changes_what_it_says_and_no_more(tmp_path):
    own = "based_on: params/smoke.yaml\nsynthetic: {train_videos: 99}\n"
    own += (
        "models: {GRU-mid: null, LSTM-mid: {architecture: lstm, hidden: 8}}\nquantization: null\n"
    )
    own += "averaging: {shown: []}\n"
    loaded = params.load(write(tmp_path, "own.yaml", own), ["distillation.teachers=1"])
    smoke = params.load("params/smoke.yaml")
    assert loaded.experiment == "own" and loaded.synthetic.train_videos == 99
    assert loaded.synthetic.frames == smoke.synthetic.frames
    assert set(smoke.models) - set(loaded.models) == {"GRU-mid"}
    assert loaded.models["LSTM-mid"].hidden == 8 and loaded.models["LSTM-mid"].batch == 32
    assert loaded.quantization.compare == {} and loaded.averaging.shown == ()
    assert loaded.training == smoke.training


def test_a_file_is_based_on_another_one_level_deep(tmp_path):
    first = write(tmp_path, "first.yaml", "based_on: params/smoke.yaml\n")
    second = write(tmp_path, "second.yaml", f"based_on: {first}\n")
    third = write(tmp_path, "third.yaml", "based_on: nothing.yaml\n")
    with pytest.raises(ParamsError, match="itself based on"):
        params.load(second)
    with pytest.raises(ParamsError, match=r"no parameter file 'nothing.yaml'"):
        params.load(third)


def test_the_two_studies_differ_in_their_data_and_what_follows_from_it():
    one, other = (params.load(f"params/study{end}.yaml") for end in ("", "_video_level"))
    assert other.synthetic is None and other.data.level == "video"
    assert one.distillation == other.distillation and one.quantization == other.quantization
    assert [m.clusters for m in one.models.values()] == [m.clusters for m in other.models.values()]


@pytest.mark.parametrize("name", ["uri", "artifacts"])
@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@db/runs",
        "postgresql+psycopg://me:hunter2@db:5432/runs",
        "postgresql://db/runs?user=me&password=hunter2",
        "https://me:hunter2@mlflow.example.org",
        "https://hunter2@mlflow.example.org",  # a token
    ],
)
def test_a_password_in_an_address_is_refused_and_not_printed(tmp_path, name, address):
    text = f"based_on: params/smoke.yaml\ntracking: {{{name}: '{address}', cache_bytes: 5}}\n"
    given = (
        (write(tmp_path, "own.yaml", text), []),
        ("params/smoke.yaml", [f"tracking.{name}={address}"]),
    )
    for path, overrides in given:
        with pytest.raises(ParamsError, match=f"tracking: `{name}` holds a password") as error:
            params.load(path, overrides)
        assert "MLFLOW_TRACKING_TOKEN" in str(error.value) and "PGPASSWORD" in str(error.value)
        assert "hunter2" not in str(error.value)


def test_where_runs_are_recorded_is_no_part_of_what_they_are():
    plain = params.load("params/smoke.yaml")
    server = ["tracking.uri=http://127.0.0.1:5000", "tracking.artifacts=s3://bucket/yt8m #1"]
    asked = params.load("params/smoke.yaml", [*server, "tracking.cache_bytes=1000"])
    assert asked.tracking.artifacts == "s3://bucket/yt8m #1"
    assert asked.model_dump(mode="json") == plain.model_dump(mode="json")
    for wrong in ("mlruns", "ftp://there", "file:///runs"):
        with pytest.raises(ParamsError, match=f"'{wrong}' is no address of a store of runs"):
            params.load("params/smoke.yaml", [f"tracking.uri={wrong}"])
