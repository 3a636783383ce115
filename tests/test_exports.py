"""Exports to JSON, CSV and Markdown."""

import csv
import dataclasses
import io
import math
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records

from lrscout.errors import RecordError, UsageError
from lrscout.records import from_json
from lrscout.report.exports import EXPORTS, Export
from lrscout.results import LrResult, RunRecord, Suggestion, SweepPoint

POINTS = (
    SweepPoint(0, 1e-07, 2.0, 2.0),
    SweepPoint(1, 0.1 + 0.2, 1.0 / 3.0, 1.5),
    SweepPoint(2, 1.0, math.nan, math.inf),
)
SUGGESTION = Suggestion(3.2e-3, "scout", "It falls *there*.", 1.1e-3, 6.4e-3)
RESULT = LrResult(SUGGESTION, {"scout": 3.2e-3, "a|b": None}, POINTS, "completed", 3, 1.0)
RECORD = RunRecord("find-lr", "ok", {"path": "a_b.py:build"}, {"steps": 3, "note": "x|y`z"}, {}, RESULT, ("Odd <b>.",))


def test_csv_has_all_digits_and_empty_cells_for_non_finite_values():
    assert EXPORTS["csv"].make(RECORD) == (
        "step,lr,loss,smoothed_loss\n0,1e-07,2.0,2.0\n1,0.30000000000000004,0.3333333333333333,1.5\n2,1.0,,\n"
    )


def test_csv_round_trips():
    rows = list(csv.DictReader(io.StringIO(EXPORTS["csv"].make(RECORD))))
    assert [float(row["lr"]) for row in rows] == [p.lr for p in POINTS]


def test_csv_without_a_result_has_only_a_header():
    assert EXPORTS["csv"].make(dataclasses.replace(RECORD, result=None)) == "step,lr,loss,smoothed_loss\n"


def test_markdown_has_headline_rules_plot_facts_warnings_and_settings():
    page = EXPORTS["markdown"].make(RECORD)
    assert page.startswith("## Suggested learning rate: 3.2e-3\n\nIt falls \\*there\\*.\n\nUsable from 1.1e-3")
    assert "| **scout** | 3.2e-3 |" in page
    assert "- target: a\\_b.py:build\n" in page
    assert "- Odd \\<b\\>." in page
    assert "| `steps` | `3` |" in page
    assert page.count("```") == 2


def test_markdown_plot_is_plain_unicode():
    plot = EXPORTS["markdown"].make(RECORD).split("```")[1]
    assert "┌" in plot
    assert "\x1b" not in plot


def test_markdown_escapes_cells_of_tables():
    page = EXPORTS["markdown"].make(RECORD)
    assert "| a\\|b | none |" in page
    assert "| ``x\\|y`z`` |" in page


def test_markdown_without_a_result_says_so():
    page = EXPORTS["markdown"].make(dataclasses.replace(RECORD, result=None, status="failed"))
    assert page.startswith("## find-lr failed before it had a result.\n")


def test_markdown_marks_no_rule_without_a_suggestion():
    nothing = dataclasses.replace(RECORD.result.suggestion, lr=None)
    record = dataclasses.replace(
        RECORD, status="inconclusive", result=dataclasses.replace(RECORD.result, suggestion=nothing)
    )
    assert "| **" in EXPORTS["markdown"].make(RECORD)
    assert "| **" not in EXPORTS["markdown"].make(record)


def test_json_is_the_record():
    assert from_json(EXPORTS["json"].make(records()["find-lr"])) == records()["find-lr"]


def test_an_export_whose_module_is_missing_says_what_to_install(tmp_path):
    export = Export("a picture", lambda record: b"", needs=("no_such_module", "plots"))
    with pytest.raises(
        UsageError, match="Cannot write a picture: the package no_such_module is not installed"
    ) as caught:
        export.check(tmp_path / "x.png")
    assert caught.value.hint == "pip install no_such_module, or install lrscout with its extra [plots]."


def test_an_export_into_a_folder_makes_the_folder_and_its_file(tmp_path):
    export = Export("bytes", lambda record: b"\xff\n", inside="file")
    export.check(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    export.write(RECORD, tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "file").read_bytes() == b"\xff\n"


def test_an_export_into_a_folder_refuses_a_file(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(RecordError, match="taken is not a folder"):
        Export("bytes", lambda record: b"", inside="file").check(tmp_path / "taken" / "logs")
