"""A record that was changed since lrscout wrote it is shown, or refused with the name of what is wrong in it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import resource
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import RECORDS, at, damaged_record, many, places
from small_records import records
from test_hostile_text import is_legible

from lrscout import reading
from lrscout.cli import main
from lrscout.errors import RecordError
from lrscout.records import from_json, to_json
from lrscout.results import RESULTS
from lrscout.tracebacks import BUG

SECONDS = 5.0  # that one record may take on a busy machine
MEGABYTES = 300  # that this process may grow by


def shown(path: Path, *more: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["show", str(path), *more])
    return code, out.getvalue(), err.getvalue()


def check(path: Path, text: str, *more: str) -> str:
    """Show a record: text, or an error that names the file; returns the error."""
    path.write_text(text, encoding="utf-8")
    began = time.monotonic()
    code, out, err = shown(path, *more)
    assert time.monotonic() - began < SECONDS
    assert code in (0, 2), err
    assert is_legible(out + err), ascii(out + err)
    assert "Traceback" not in err
    assert BUG not in err
    if code == 0:
        assert out
        return ""
    assert f"Error: {path}" in err, err
    return err


def grown_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


MISTAKES = [
    ("find-lr", ("result", "points", 3, "step"), "3", "result.points[3].step must be a whole number, not '3'"),
    ("find-lr", ("result", "points", 3, "step"), 3.5, "result.points[3].step must be a whole number, not 3.5"),
    ("find-lr", ("result", "points", 3, "step"), True, "result.points[3].step must be a whole number, not true"),
    ("find-lr", ("result", "points", 3, "step"), -1, "result.points[3].step must be at least 0, not -1"),
    ("find-lr", ("result", "points", 3, "step"), 10**400, f"must be at most {2**63}, not a number of 401 digits"),
    ("find-lr", ("result", "points", 3, "lr"), "1e-3", "result.points[3].lr must be a number, not '1e-3'"),
    ("find-lr", ("result", "points", 3, "loss"), float("inf"), "result.points[3].loss must be finite, not inf"),
    ("find-lr", ("result", "points", 3), None, "result.points[3] must be a mapping, not null"),
    ("find-lr", ("result", "points"), {}, "result.points must be a list, not a mapping"),
    ("find-lr", ("result", "seconds"), None, "result.seconds must be a number, not null"),
    ("find-lr", ("result", "suggestion", "use"), "x", "result.suggestion.use must be one of decay, constant, not 'x'"),
    ("find-lr", ("result", "uses", "x"), 1.0, "result.uses.x must be one of decay, constant, not 'x'"),
    ("find-lr", ("environment", "groups", 0, "lr"), "x", "environment.groups[0].lr must be a number, not 'x'"),
    ("several optimizers", ("target", "command", 1), 3, "target.command[1] must be text, not 3"),
    ("find-batch-size", ("result", "trials", 0, "batch_size"), 0, "trials[0].batch_size must be at least 1, not 0"),
    ("find-batch-size", ("result", "trials", 0, "outcome"), 1, "result.trials[0].outcome must be one of fits, "),
    ("compare-schedulers", ("result", "paired"), 1, "result.paired must be true or false, not 1"),
    ("run", ("warnings",), "Odd.", "warnings must be a list, not 'Odd.'"),
    ("run", ("command",), "x", f"command must be one of {', '.join(RESULTS)}, not 'x'"),
    ("run", ("result", "point"), 1, "result.point is unknown (Did you mean 'points'?)"),
]


@pytest.mark.parametrize(("name", "path", "value", "told"), MISTAKES, ids=[told for *_, told in MISTAKES])
def test_an_error_names_the_file_the_field_and_what_is_in_it(name, path, value, told, tmp_path):
    document = copy.deepcopy(RECORDS[name])
    at(document, path[:-1])[path[-1]] = value
    error = check(tmp_path / "r.json", json.dumps(document))
    assert told in error
    assert "make it again" in error


@pytest.mark.parametrize("path", [("result",), ("result", "points"), ("result", "points", 3, "loss"), ("status",)])
def test_a_missing_field_is_named(path, tmp_path):
    document = copy.deepcopy(RECORDS["find-lr"])
    del at(document, path[:-1])[path[-1]]
    named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    assert f"{named} is missing" in check(tmp_path / "r.json", json.dumps(document))


@pytest.mark.parametrize("name", ["find-lr", "compare-schedulers", "run"])
@pytest.mark.parametrize("step", [10**6, 10**18])
def test_a_point_far_beyond_the_others_takes_no_memory(name, step, tmp_path):
    document = copy.deepcopy(RECORDS[name])
    points = [path for path in places(document) if path[-2:] == (1, "step")]
    assert points
    for path in points:
        at(document, path[:-1])["step"] = step
    before = grown_megabytes()
    assert check(tmp_path / "r.json", json.dumps(document)) == ""
    assert grown_megabytes() - before < 50


def test_a_text_of_another_kind_is_refused_by_its_name(tmp_path):
    for text in ("", "{", "[]", "3", '"x"', "null", "[" * 100_000, '{"schema": ' + "9" * 5000 + "}", '{"schema": NaN}'):
        assert "r.json" in check(tmp_path / "r.json", text)


def test_what_contradicts_itself_is_told_as_such(tmp_path):
    document = copy.deepcopy(RECORDS["find-batch-size"])
    document["result"]["loading"]["workers"] = 77  # which was never timed
    assert "contradict each other" in check(tmp_path / "r.json", json.dumps(document))


def test_the_types_of_a_class_are_looked_up_once(monkeypatch):
    text = to_json(records()["find-lr"])
    from_json(text)

    def looked_up(kind):
        raise AssertionError(kind)

    monkeypatch.setattr(reading, "get_type_hints", looked_up)
    from_json(text)


@settings(max_examples=len(many("record")))
@given(st.sampled_from(sorted(RECORDS)), st.randoms(use_true_random=False))
def test_what_can_be_read_of_a_mutated_record_is_json_again(name, chance):
    with contextlib.suppress(RecordError):
        record = from_json(damaged_record(name, chance))
        assert to_json(from_json(to_json(record))) == to_json(record)
