"""The README's numbers are those of the committed records."""

import re

import pandas as pd
import pytest

from yt8m_lib.report import findings
from yt8m_lib.report.claims import CLAIMS
from yt8m_lib.settings import ROOT

README = (ROOT / "README.md").read_text()
RECORDS = {
    name: pd.read_csv(ROOT / "results" / "reference" / name / "findings.csv", keep_default_na=False)
    for name in ("study", "study_video_level")
}
ROWS = {int(row[1]): row[0] for row in re.finditer(r"^\| (\d+) \|.*$", README, re.MULTILINE)}


def test_every_claim_has_its_row():
    assert list(ROWS) == list(range(1, 15))


@pytest.mark.parametrize("claim", range(1, 15))
def test_what_was_found_of_a_claim_is_what_its_record_says(claim):
    measured = [
        abs(effect)
        for record in RECORDS.values()
        for effect in record["effect"][record["claim"] == claim]
    ]
    parts = (part for name, part in CLAIMS.items() if name.split("-")[0] == str(claim))
    published = [abs(value) for part in parts for value in part.published]
    for number in re.findall(r"\d\.\d{3,4}\b", ROWS[claim]):
        digits = len(number) - 2
        near = [round(value, digits) for value in measured + published]
        assert float(number) in near, f"{number} in: {ROWS[claim]}"


def test_how_many_claims_are_decided():
    counts = [findings.decided(record).split()[0] for record in RECORDS.values()]
    first = [re.search(r"\((\d+) by the rule", findings.decided(r))[1] for r in RECORDS.values()]
    words = " ".join(README.split())
    assert f"**Decided: {counts[0]} of 14 on stand-in data, {counts[1]} on real records**" in words
    assert f"By the first rule {first[0]} and {first[1]} claims are decided" in words


@pytest.mark.parametrize("file", sorted(p.name for p in (ROOT / "params").glob("*.yaml")))
def test_every_parameter_file_is_named(file):
    assert file in README


def test_what_students_owe_is_what_its_record_says():
    record = pd.read_csv(ROOT / "results" / "reference" / "students" / "asked.csv")
    words = README[README.index("*What else students owe*") :]
    words = words[: words.index("\n\n")]
    numbers = re.findall(r"\d\.\d{4}", words)
    known = record[["effect", "effect_low", "effect_high"]].abs().round(4).to_numpy().ravel()
    assert len(numbers) > 5 and all(float(number) in known for number in numbers)
