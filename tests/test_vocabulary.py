"""Names of classes, from vocabularies as others write them."""

import csv

import pytest
from conftest import shared

from yt8m_lib import params
from yt8m_lib.data.shards import DataError
from yt8m_lib.data.vocabulary import class_names
from yt8m_lib.experiment.plan import Plan


@pytest.mark.parametrize(
    "text",
    [
        "index,name\n0,Game\n1,Car\n2,Dance\n",
        '\ufeffIndex,Count,Name,About\n2,5,Dance,a\n0,7,Game,"b, c"\n1,6,Car,d\n',
        "index,mid,display_name\n0,/m/1,Game\n1,/m/2,Car\n2,/m/3,Dance\n3,/m/4,Cat\n",
    ],
)
def test_every_layout_gives_the_same_names(text, tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_text(text, encoding="utf-8")
    assert class_names(path, 3) == ["Game", "Car", "Dance"]


def test_the_challenges_own_vocabulary():
    names = class_names(shared("vocabulary.csv"), 3862)
    assert names[:2] == ["Game", "Video game"] and names[120] == ""  # which has none there


def test_without_a_vocabulary_no_class_has_a_name():
    assert class_names(None, 2) == ["", ""]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"index,name\n0,Game\n2,Car\n", "names 2 classes, and none is class 1"),
        (b"number,title\n0,Game\n", r"names the columns \(number, title\); `index` and `name`"),
        (b"", r"names the columns \(none\)"),
        (b"index,name\n0,Game\nCar,1\n", "line 3: 'Car' is no class number"),
        (b"index,name\n0,Game\n0,Car\n", "line 3: class 0 has a line already"),
        (b"index,name\n0,\xdcbung\n", "not UTF-8 text"),
    ],
)
def test_what_is_no_vocabulary_is_refused(text, words, tmp_path):
    path = tmp_path / "vocabulary.csv"
    path.write_bytes(text)
    with pytest.raises(DataError, match=words) as error:
        class_names(path, 2)
    assert str(path) in str(error.value)


def test_other_names_make_another_model_and_train_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(Plan, "data_digest", "some data")
    plans = []
    for name in ("Game", "Spiel"):
        with open(path := tmp_path / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([("index", "name"), *((i, name) for i in range(40))])
        plans.append(Plan(params.load("params/smoke.yaml", [f"data.vocabulary_file={path}"])))
    one, two = plans
    differ = {key for key in one.steps if one.fingerprint(key) != two.fingerprint(key)}
    assert differ == {"ensembling/ensemble", "report/report"}


def test_a_missing_file_is_named(tmp_path):
    settings = params.load("params/smoke.yaml", [f"data.vocabulary_file={tmp_path / 'no.csv'}"])
    with pytest.raises(DataError, match=r"no\.csv cannot be read"):
        Plan(settings)
