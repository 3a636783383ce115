"""Every command tells a CI job its answer, in the step's summary and in its outputs."""

from __future__ import annotations

import json
import re

import pytest
from small_records import records

from lrscout.commands.ci import tell_github
from lrscout.report.outputs import outputs
from lrscout.search.conditions import Check


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    return tmp_path / "summary", tmp_path / "outputs"


@pytest.mark.parametrize("name", records())
def test_every_command_has_outputs_and_a_summary(name, tmp_path, files):
    record, (summary, output) = records()[name], files
    assert tell_github(record, tmp_path / "run.json") == []
    found = dict(line.split("=", 1) for line in output.read_text().splitlines())
    assert (found["status"], found["record"]) == (record.status, str(tmp_path / "run.json"))
    text = summary.read_text()
    assert text.startswith("## ")
    (fenced,) = re.findall(r"<details>.*?```json\n(.*?)\n```", text, re.DOTALL)
    assert json.loads(fenced)["command"] == record.command
    assert not re.search(
        r"`[^`]*(None|True|False|\['|\(')[^`]*`", text.partition("### Settings")[2].partition("<details>")[0]
    )


def test_the_answer_of_each_command_is_an_output():
    told = {name: outputs(record) for name, record in records().items()}
    assert (told["find-lr"]["lr"], told["find-lr"]["confidence"]) == ("0.001", "low")
    assert told["find-batch-size"]["batch-size"] == str(records()["find-batch-size"].result.batch_size)
    assert told["compare-schedulers"]["winner"]
    assert told["tune"] == {"status": "ok", "batch-size": "64", "lr": "0.001", "schedule": "wsd"}
    assert told["failed"] == {"status": "failed"}


def test_checks_that_failed_are_in_the_summary_and_the_outputs(files):
    checks = [Check("best is wsd", False, "best is cosine"), Check("cosine not worse", True, "p = 0.4")]
    tell_github(records()["compare-schedulers"], None, checks)
    assert "| best is wsd | **failed** | best is cosine |" in files[0].read_text()
    assert "checks=failed\n" in files[1].read_text()


def test_a_summary_that_cannot_be_written_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "missing" / "outputs"))
    (problem,) = tell_github(records()["find-lr"], None)
    assert "Cannot write" in problem
