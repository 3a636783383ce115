"""A record that was changed since lrscout wrote it is shown, or refused with the name of what is wrong in it."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_records import records
from test_hostile_text import is_legible

from lrscout import reading
from lrscout.cli import main
from lrscout.errors import RecordError
from lrscout.records import from_json, to_json
from lrscout.tracebacks import BUG

DOCUMENTS = {name: json.loads(to_json(record)) for name, record in records().items()}
MANY = int(os.environ.get("FUZZ", "200"))  # mutations of the fast test; `make fuzz` tries 20,000
SECONDS = 5.0  # that one record may take on a busy machine
MEGABYTES = 300  # that this process may grow by

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 3, 10**6, 2**63, 10**18, 10**30, 10**400, 0.0, -0.5, 1.5, 1e-320, 1e308, -1e308,
    float("nan"), float("inf"), float("-inf"), "", "x", "1", "nan", "1e5", "\x1b[31m", "ok", "failed", "decay",
    [], [1], ["x"], [[]], [None], {}, {"x": 1}, {"x": {}}, {"1": None},
]  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value of a document is, the whole of it included."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def mutated(document: Any, chance: random.Random) -> str:
    """The text of a document with one to three things changed in it."""
    document = {"": copy.deepcopy(document)}
    for _ in range(chance.randint(1, 3)):
        *path, key = chance.choice(places(document[""], ("",)))
        parent = at(document, tuple(path))
        match chance.randrange(12):
            case 0 | 1:
                parent[key] = copy.deepcopy(chance.choice(VALUES))
            case 2 | 3 | 8 | 9 | 10 | 11:  # what no check of types can tell
                alike = [value for value in VALUES if type(value) is type(parent[key])]
                parent[key] = copy.deepcopy(chance.choice([*alike, None]))
            case 4 if path:
                del parent[key]
            case 5 if isinstance(parent[key], dict):
                parent[key][chance.choice(["new", "steps", "\x9b", "points"])] = chance.choice(VALUES)
            case 5 | 6 if isinstance(parent[key], list) and parent[key]:
                parent[key] = parent[key] * chance.choice([2, 30]) if chance.random() < 0.5 else parent[key][::-1]
            case _:
                parent[key] = copy.deepcopy(at(document, chance.choice(places(document[""], ("",)))))
        if not isinstance(document[""], dict):
            break
    text = json.dumps(document[""], ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.05:
        return text[: chance.randrange(len(text))]
    return text


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
    ("run", ("command",), "x", "command must be one of find-lr, find-batch-size, compare-schedulers, run, not 'x'"),
    ("run", ("result", "point"), 1, "result.point is unknown (Did you mean 'points'?)"),
]


@pytest.mark.parametrize(("name", "path", "value", "told"), MISTAKES, ids=[told for *_, told in MISTAKES])
def test_an_error_names_the_file_the_field_and_what_is_in_it(name, path, value, told, tmp_path):
    document = copy.deepcopy(DOCUMENTS[name])
    at(document, path[:-1])[path[-1]] = value
    error = check(tmp_path / "r.json", json.dumps(document))
    assert told in error
    assert "make it again" in error


@pytest.mark.parametrize("path", [("result",), ("result", "points"), ("result", "points", 3, "loss"), ("status",)])
def test_a_missing_field_is_named(path, tmp_path):
    document = copy.deepcopy(DOCUMENTS["find-lr"])
    del at(document, path[:-1])[path[-1]]
    named = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
    assert f"{named} is missing" in check(tmp_path / "r.json", json.dumps(document))


@pytest.mark.parametrize("name", ["find-lr", "compare-schedulers", "run"])
@pytest.mark.parametrize("step", [10**6, 10**18])
def test_a_point_far_beyond_the_others_takes_no_memory(name, step, tmp_path):
    document = copy.deepcopy(DOCUMENTS[name])
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
    document = copy.deepcopy(DOCUMENTS["find-batch-size"])
    document["result"]["loading"]["workers"] = 77  # which was never timed
    assert "contradict each other" in check(tmp_path / "r.json", json.dumps(document))


def test_the_types_of_a_class_are_looked_up_once(monkeypatch):
    text = to_json(records()["find-lr"])
    from_json(text)

    def looked_up(kind):
        raise AssertionError(kind)

    monkeypatch.setattr(reading, "get_type_hints", looked_up)
    from_json(text)


@settings(max_examples=MANY)
@given(
    st.sampled_from(sorted(DOCUMENTS)), st.randoms(use_true_random=False), st.sampled_from([(), ("-v",), ("--json",)])
)
def test_any_mutated_record_is_shown_or_refused_within_bounds(name, chance, more):
    before = grown_megabytes()
    check(Path(os.environ["XDG_CACHE_HOME"]) / "mutated.json", mutated(DOCUMENTS[name], chance), *more)
    assert grown_megabytes() - before < MEGABYTES


@settings(max_examples=MANY // 3)
@given(st.sampled_from(sorted(DOCUMENTS)), st.randoms(use_true_random=False))
def test_what_can_be_read_of_a_mutated_record_is_json_again(name, chance):
    with contextlib.suppress(RecordError):
        record = from_json(mutated(DOCUMENTS[name], chance))
        assert to_json(from_json(to_json(record))) == to_json(record)
