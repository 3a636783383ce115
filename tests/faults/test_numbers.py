"""Numbers beyond any use are refused within two seconds, with what may be given."""

from __future__ import annotations

import contextlib
import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.cli import main
from lrscout.errors import UsageError
from lrscout.schedules.text import _pairs
from lrscout.settings import COMMANDS, Field, fields_of, make_settings

SECONDS = 2.0  # that an answer may take
DIGITS = {"400 digits": "9" * 400, "5000 digits": "9" * 5000}
NUMERIC = [
    (command, field)
    for command, settings in COMMANDS.items()
    for field in fields_of(settings)
    if field.type in (int, float)
]
WHOLE = [(command, field) for command, field in NUMERIC if field.type is int]
NAMES = [f"{command} {field.name}" for command, field in NUMERIC]
AMOUNTS = [
    ("find-lr", "--refine"),
    ("find-batch-size", "--budget"),
    ("find-batch-size", "--margin"),
    ("find-batch-size", "--resolution"),
    ("find-batch-size", "--time-budget"),
    ("compare-schedulers", "--time-budget"),
    ("compare-schedulers", "--jobs"),
]


def refused(arguments: list[str], *codes: int) -> str:
    """What is said about the arguments of a command; it must be an error of ours, and soon."""
    out, err = io.StringIO(), io.StringIO()
    began = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    assert time.process_time() - began < SECONDS
    assert code in (2, *codes), err.getvalue()
    assert "Traceback" not in err.getvalue()
    return err.getvalue()


def name_of(command: str) -> str:
    return command.replace("_", "-")


def target_of(command: str) -> list[str]:
    return ["--", "python"] if command == "run" else ["nosuch.py:x"]


@pytest.mark.parametrize("digits", DIGITS)
@pytest.mark.parametrize(("command", "field"), NUMERIC, ids=NAMES)
def test_no_flag_takes_a_number_of_hundreds_of_digits(command: str, field: Field, digits: str):
    said = refused([name_of(command), field.flag, DIGITS[digits], *target_of(command)])
    assert re.search("must be (at most|finite|below)|exceeded maximum size", said), said


@pytest.mark.parametrize(("command", "field"), WHOLE, ids=[f"{command} {field.name}" for command, field in WHOLE])
@pytest.mark.parametrize("value", [2**63, 10**30])
def test_every_whole_number_has_a_bound_that_is_told(command: str, field: Field, value: int):
    most = field.option.at_most or 2**63 - 1
    assert f"{field.flag} {value} must be at most {most}" in refused(
        [name_of(command), field.flag, str(value), *target_of(command)]
    )


@pytest.mark.parametrize(("command", "field"), NUMERIC, ids=NAMES)
def test_no_variable_takes_a_number_of_hundreds_of_digits(command: str, field: Field, monkeypatch):
    variable = f"LRSCOUT_{command}_{field.flag.strip('-')}".upper().replace("-", "_")
    monkeypatch.setenv(variable, DIGITS["400 digits"])
    assert variable in refused([name_of(command), *target_of(command)])


@pytest.mark.parametrize(("command", "field"), NUMERIC, ids=NAMES)
def test_no_recipe_takes_a_number_of_hundreds_of_digits(command: str, field: Field, tmp_path):
    for digits in (200, 400):
        text = f"version: 1\ntarget: x:y\n{command}:\n  {field.name}: {'9' * digits}\n"
        if field.type is float and digits == 200:
            continue  # a number of use to nobody, but a number
        (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
        assert "r.yaml:4:" in refused([name_of(command), "--recipe", str(tmp_path / "r.yaml"), *target_of(command)])


@pytest.mark.parametrize(("command", "field"), NUMERIC, ids=NAMES)
def test_no_keyword_takes_a_number_of_hundreds_of_digits(command: str, field: Field):
    for number in (10**400, 10**5000, -(10**5000)):
        with pytest.raises(UsageError, match=field.name.replace("_", "[_-]")):
            make_settings(COMMANDS[command], {field.name: number})


@pytest.mark.parametrize(("command", "flag"), AMOUNTS, ids=" ".join)
@pytest.mark.parametrize("unit", ["", "GiB", "h", "%"])
def test_no_amount_has_hundreds_of_digits(command: str, flag: str, unit: str):
    for digits in DIGITS.values():
        assert flag in refused([command, "nosuch.py:x", flag, digits + unit])


def test_a_text_may_not_be_a_number_of_thousands_of_digits():
    for name in ("device", "optimizer", "refine"):
        with pytest.raises(UsageError):
            make_settings(COMMANDS["find_lr"], {name: 10**5000})


def test_a_sweep_of_a_thousand_million_steps_is_refused():
    assert "--steps 1000000000 must be at most 1000000" in refused(["find-lr", "nosuch.py:x", "--steps", "1000000000"])


N = 50_000
SCHEDULES = {
    "blanks": " " * N,
    "blanks in a key": "cosine:" + " " * N + "=1",
    "blanks before a key": "cosine:" + " " * N,
    "blanks around a value": "cosine:min_ratio" + " " * N + "=" + " " * N + "x",
    "repeated keys": "cosine:" + "a=1," * N,
    "commas": "cosine:a=" + "," * N,
    "brackets": "cosine:a=" + "[," * N,
    "colons": "a:" * N,
    "colons and blanks": "a : " * N,
    "a long word": "cosine:" + "a" * N,
    "digits": "cosine:min_ratio=" + "9" * N,
    "line ends": "\n" * N,
}
CONDITIONS = {
    "blanks": " " * N,
    "blanks after a name": "cosine" + " " * N,
    "blanks after a relation": "cosine worse" + " " * N,
    "blanks in the middle": "cosine" + " " * N + "worse" + " " * N + "than" + " " * N + "x",
    "relations": "cosine worse " * N,
    "whole relations": "a worse than " * N,
    "negations": "cosine" + " not" * N + " worse than",
    "tabs": "cosine" + "\t" * N + "not worse",
}


@pytest.mark.parametrize("text", SCHEDULES.values(), ids=SCHEDULES)
def test_a_long_schedule_is_refused_in_linear_time(text: str):
    refused(["compare-schedulers", "nosuch.py:x", "-s", text, "-s", "wsd"], 3)  # colons make a path of the user's


@pytest.mark.parametrize("text", CONDITIONS.values(), ids=CONDITIONS)
def test_a_long_condition_is_refused_in_linear_time(text: str):
    refused(["compare-schedulers", "nosuch.py:x", "-s", "cosine", "-s", "wsd", "--fail-if", text])


@given(st.text("a,[]=", max_size=15))
def test_parameters_are_cut_at_the_commas_that_no_closing_bracket_follows(text: str):
    assert _pairs(text) == re.split(r",(?![^\[]*\])", text)
