"""`lrscout show` of one record and of several, and `lrscout diff`."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records, with_texts
from test_hostile_text import ALL_AT_ONCE, is_legible, runs_commands

from lrscout.cli import main
from lrscout.history import new_record_path, remember
from lrscout.records import from_json, save
from lrscout.report.exports import EXPORTS

RECORDS = records()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    for name, record in RECORDS.items():
        save(record, Path(f"{name.replace(' ', '_')}.json"))
    return tmp_path


def lrscout(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments])
    return code, out.getvalue(), err.getvalue()


def faster(name: str = "find-lr"):
    """The record of a find-lr with other settings and ten times the rate."""
    record = RECORDS[name]
    suggestion = dataclasses.replace(record.result.suggestion, lr=1e-2, low=None, high=None)
    result = dataclasses.replace(record.result, suggestion=suggestion)
    environment = {**record.environment, "threads": 4, "torch": "2.15"}
    return dataclasses.replace(record, result=result, settings={"steps": 24, "horizon": 400}, environment=environment)


def test_quiet_prints_the_answer_alone():
    assert lrscout("show", "find-lr.json", "-q") == (0, "0.001\n0.0001\n", "Warning: Odd.\n")


@pytest.mark.parametrize("name", ["json", "csv", "markdown", "html"])
def test_a_record_is_exported_as_the_commands_do(name, folder):
    code, _, err = lrscout("show", "run.json", f"--export-{name}", "made")
    assert code == 0, err
    assert (folder / "made").read_text() == EXPORTS[name].make(RECORDS["run"])


def test_an_export_that_cannot_be_written_is_told_before_anything_is_shown():
    code, out, err = lrscout("show", "run.json", "--export-csv", "missing/x.csv")
    assert (code, out) == (2, "")
    assert "does not exist" in err


def test_the_last_record_of_another_folder_is_named_as_such(folder, monkeypatch):
    remember(folder / "run.json")
    _, _, err = lrscout("show")
    assert "No run of this folder" not in err
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    code, out, err = lrscout("show")
    assert code == 0
    assert "Trained 5 steps" in out
    assert "No run of this folder is known" in err


def test_a_record_is_shown_by_its_id():
    path = new_record_path("run", "train.py")
    save(RECORDS["run"], path)
    code, out, _ = lrscout("show", path.stem[-8:])
    assert code == 0
    assert "Trained 5 steps" in out


def test_several_sweeps_are_one_table_and_one_plot_with_a_legend(folder):
    save(faster(), folder / "b.json")
    code, out, _ = lrscout("show", "find-lr.json", "b.json")
    assert code == 0
    assert out.splitlines()[2].split()[:3] == ["find-lr.json", "1.0e-3", "1.0e-4"]
    assert out.splitlines()[3].split()[:3] == ["b.json", "1.0e-2", "none"]
    assert out.count("┌") == 1
    assert out.splitlines()[-1].split() == ["a", "find-lr.json", "b", "b.json"]


def test_colors_tell_the_curves_apart_where_there_are_colors(folder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    save(faster(), folder / "b.json")
    _, out, _ = lrscout("show", "find-lr.json", "b.json")
    assert "\x1b[94m▚\x1b[0m find-lr.json  \x1b[35m▚\x1b[0m b.json" in out


def test_several_comparisons_are_one_table_by_schedule(folder):
    record = RECORDS["compare-schedulers"]
    only = dataclasses.replace(record.result, ranking=record.result.ranking[:1])
    save(dataclasses.replace(record, result=only), folder / "b.json")
    _, out, _ = lrscout("show", "compare-schedulers.json", "b.json")
    lines = [line.split() for line in out.splitlines()]
    assert ["cosine", "1.00", "±", "0.10", "1.00", "±", "0.10"] in lines
    assert ["wsd", "1.00", "±", "0.10"] in lines


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", [name for name in RECORDS if name != "failed"])
def test_several_of_any_command_fit_the_width(name, width, folder):
    save(RECORDS[name], folder / "another.json")
    code, out, err = lrscout("show", f"{name.replace(' ', '_')}.json", "another.json", "--width", str(width))
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= width
    assert "another.json" in out


def test_several_have_their_answers_and_documents(folder):
    save(faster(), folder / "b.json")
    save(RECORDS["run"], folder / "c.json")
    assert lrscout("show", "run.json", "c.json", "-q")[1] == "1.2\n1.2\n"
    _, out, _ = lrscout("show", "find-lr.json", "b.json", "--json")
    assert [from_json(json.dumps(each)) for each in json.loads(out)] == [RECORDS["find-lr"], faster()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["find-lr.json", "run.json"], "find-lr and run, which have nothing in common"),
        (["find-lr.json", "several_optimizers.json", "--export-csv", "x"], "--export-csv writes one record, and 2"),
        (["find-lr.json", "--json", "-q"], "cannot be combined"),
    ],
)
def test_what_cannot_be_shown_together_is_told(arguments, message):
    code, out, err = lrscout("show", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_diff_tells_the_answer_the_settings_and_the_environment_with_sizes(folder):
    save(faster(), folder / "b.json")
    code, out, _ = lrscout("diff", "find-lr.json", "b.json")
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line and "─" not in line]
    assert rows == [
        ["answer", "find-lr.json", "b.json", "change"],
        ["lr", "1.0e-3", "1.0e-2", "x10"],
        ["usable", "from", "1.0e-4", "none"],
        ["usable", "to", "1.0e-2", "none"],
        ["settings", "find-lr.json", "b.json", "change"],
        ["steps", "12", "24", "x2"],
        ["environment", "find-lr.json", "b.json", "change"],
        ["threads", "1", "4", "x4"],
        ["torch", "2.15"],
    ]


def test_a_diff_as_json_has_every_quantity(folder):
    save(faster(), folder / "b.json")
    found = json.loads(lrscout("diff", "find-lr.json", "b.json", "--json")[1])
    assert found["answer"]["lr"] == {"old": 1e-3, "new": 1e-2, "change": pytest.approx(10)}
    assert found["answer"]["seconds"]["change"] == 1
    assert list(found["settings"]) == ["steps"]


def test_a_diff_with_one_record_compares_it_with_the_last(folder):
    save(faster(), folder / "b.json")
    remember(folder / "b.json")
    assert lrscout("diff", "find-lr.json") == lrscout("diff", "find-lr.json", "b.json")


def test_records_that_are_alike_have_no_differences():
    assert lrscout("diff", "run.json", "run.json") == (0, "run.json and run.json (run) are alike.\n", "")


def test_a_diff_of_two_commands_is_an_error():
    code, _, err = lrscout("diff", "run.json", "find-lr.json")
    assert code == 2
    assert "run.json is of run, and find-lr.json of find-lr" in err


@pytest.mark.parametrize("name", RECORDS)
def test_no_text_of_a_record_reaches_the_terminal_unescaped(name, folder, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    save(with_texts(RECORDS[name], lambda text: ALL_AT_ONCE), folder / "b.json")
    file = f"{name.replace(' ', '_')}.json"
    for arguments in (["show", file, "b.json"], ["diff", file, "b.json"], ["diff", file, "b.json", "--json"]):
        code, out, err = lrscout(*arguments)
        assert code == 0, err
        assert is_legible(out + err), ascii(out)
        assert not runs_commands(out + err)


def test_the_name_of_a_file_is_escaped_too(folder):
    odd = "a\x1b[31m\n::error::x.json"
    save(RECORDS["find-lr"], folder / odd)
    for arguments in (["show", "find-lr.json", odd], ["diff", "several_optimizers.json", odd], ["show", odd]):
        _, out, err = lrscout(*arguments)
        assert is_legible(out + err)
    assert os.path.exists(odd)
