"""What records are compared by, and how far they may be apart."""

from __future__ import annotations

import dataclasses
import math
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records

from lrscout.differences import (
    QUANTITIES,
    Limit,
    changes,
    check_limits,
    factor,
    parse_limit,
    parse_tolerance,
    times,
    told,
    values_of,
)
from lrscout.errors import UsageError
from lrscout.results import RESULTS
from lrscout.search.conditions import Check

RECORDS = records()
NUMBERS = st.floats(1e-12, 1e12)
KINDS = st.sampled_from(["factor", "share", "amount"])
LIMITS = st.builds(Limit, KINDS, st.floats(1, 1e6)) | st.just(Limit("any"))
WORSE = st.sampled_from(["either", "higher", "lower"])


def test_every_command_with_a_record_has_quantities():
    assert set(QUANTITIES) == set(RESULTS)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("find-lr", {"lr": 1e-3, "usable_from": 1e-4, "usable_to": 1e-2, "steps": 30, "seconds": 0.5}),
        ("run", {"loss": 1.2, "lr": 1e-3, "steps": 5, "seconds": 1.0}),
        ("compare-schedulers", {"best": ("cosine",), "loss": 1.0, "score": None, "lr": 1e-3, "seconds": 4.0}),
        (
            "find-batch-size",
            {
                "batch_size": 16,
                "largest": 16,
                "samples_per_second": 160.0,
                "peak_bytes": 20_000_000,
                "noise_scale": 40.0,
                "seconds": 3.0,
            },
        ),
        ("failed", {"loss": None, "lr": None, "steps": None, "seconds": None}),
    ],
)
def test_the_quantities_of_a_record_are_read_from_its_result(name, found):
    assert values_of(RECORDS[name]) == found


def test_a_quantity_that_is_not_finite_is_none():
    record = RECORDS["run"]
    record = dataclasses.replace(record, result=dataclasses.replace(record.result, final_loss=math.nan))
    assert values_of(record)["loss"] is None


def test_schedules_that_tie_are_all_the_best():
    record = RECORDS["compare-schedulers"]
    first, second = record.result.ranking
    tied = dataclasses.replace(record.result, ranking=(first, dataclasses.replace(second, verdict="tie")))
    assert values_of(dataclasses.replace(record, result=tied))["best"] == ("cosine", "wsd")
    assert told("compare-schedulers", "best", ("cosine", "wsd")) == "cosine, tied with wsd"


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("2x", Limit("factor", 2.0)),
        ("1.5x", Limit("factor", 1.5)),
        ("10%", Limit("share", 0.1)),
        (".5%", Limit("share", 0.005)),
        ("0.05", Limit("amount", 0.05)),
        ("1e-3", Limit("amount", 1e-3)),
        ("same", Limit("amount", 0.0)),
        ("any", Limit("any")),
    ],
)
def test_a_limit_is_a_factor_a_share_a_difference_same_or_any(text, limit):
    assert parse_limit(text, "lr") == limit


@pytest.mark.parametrize(
    "text", ["", "x", "2 x", "-1", "2X", "nan", "inf", "1e999", "1e999x", "0.5x", "10%%", "9" * 50]
)
def test_a_limit_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="lr="):
        parse_limit(text, "lr")


@given(st.text(max_size=50))
def test_any_text_is_a_limit_or_a_usage_error(text):
    with suppress(UsageError):
        assert math.isfinite(parse_limit(text, "lr").size)


@given(st.text("lrbatch_sizeny=,x%0123.", max_size=40), st.sampled_from(sorted(QUANTITIES)))
def test_any_text_is_a_tolerance_or_a_usage_error(text, command):
    with suppress(UsageError):
        assert parse_tolerance(text, command).keys() <= QUANTITIES[command].keys()


@pytest.mark.parametrize(
    ("command", "text", "found"),
    [
        ("find-lr", None, {"lr": "2x"}),
        ("find-lr", "lr=10%, steps=any", {"lr": "10%", "steps": "any"}),
        ("find-batch-size", "batch_size=10%", {"batch_size": "10%", "largest": "25%"}),
        ("compare-schedulers", "best=any", {"best": "any", "loss": "10%", "score": "10%"}),
    ],
)
def test_a_tolerance_stands_over_the_defaults(command, text, found):
    assert parse_tolerance(text, command) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr", "must be NAME=LIMIT"),
        ("lr=2x,", "must be NAME=LIMIT"),
        ("batch_size=2x", "find-lr has no 'batch_size'"),
        ("lr=2x,lr=3x", "lr twice: 2x and 3x"),
    ],
)
def test_a_tolerance_that_cannot_be_used_says_why(text, message):
    with pytest.raises(UsageError, match=message):
        parse_tolerance(text, "find-lr")


def test_a_name_has_no_factor():
    with pytest.raises(UsageError, match="best is a name"):
        parse_tolerance("best=2x", "compare-schedulers")


@given(LIMITS, NUMBERS, WORSE)
def test_no_change_is_always_allowed(limit, value, worse):
    assert limit.allows(value, value, worse)


@given(st.sampled_from(["factor", "amount"]), st.floats(1, 1e6), NUMBERS, NUMBERS)
def test_a_factor_and_a_difference_are_the_same_in_both_directions(kind, size, old, new):
    assert Limit(kind, size).allows(old, new) == Limit(kind, size).allows(new, old)


@given(KINDS, st.floats(1, 1e6), st.floats(1, 1e6), NUMBERS, NUMBERS, WORSE)
def test_what_a_narrow_limit_allows_a_wider_one_allows_too(kind, one, other, old, new, worse):
    narrow, wide = sorted((one, other))
    if Limit(kind, narrow).allows(old, new, worse):
        assert Limit(kind, wide).allows(old, new, worse)


@given(LIMITS, NUMBERS, NUMBERS)
def test_a_change_in_one_direction_is_checked_exactly_where_it_is_worse(limit, old, new):
    one_sided = [limit.allows(old, new, worse) for worse in ("higher", "lower")]
    assert limit.allows(old, new) == all(one_sided)
    assert any(one_sided)


@given(
    st.sampled_from(["factor", "share"]), st.floats(1, 100), st.integers(1, 9999), st.integers(1, 9999), st.integers()
)
def test_factors_and_shares_do_not_depend_on_the_unit(kind, size, old, new, power):
    unit = 2.0 ** (power % 64)
    assert Limit(kind, size).allows(old, new) == Limit(kind, size).allows(old * unit, new * unit)


@pytest.mark.parametrize(
    ("limit", "old", "new", "allowed"),
    [
        ("2x", 1.0, 2.0, True),
        ("2x", 1.0, 2.01, False),
        ("2x", 2.01, 1.0, False),
        ("2x", -1.0, 1.0, False),
        ("2x", 0.0, 1.0, False),
        ("10%", 100, 110, True),
        ("10%", 100, 111, False),
        ("10%", -100, -110, True),
        ("0.5", 1.0, 1.5, True),
        ("0.5", 1.0, 1.6, False),
        ("same", 64, 64, True),
        ("same", 64, 65, False),
        ("same", ("a",), ("b",), False),
        ("same", ("a", "b"), ("b", "a"), True),
        ("any", 1.0, None, True),
        ("2x", 1.0, None, False),
        ("2x", None, 1.0, True),
    ],
)
def test_limits(limit, old, new, allowed):
    assert parse_limit(limit, "lr").allows(old, new) == allowed


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (1, 2.1, "x2.1"),
        (2.1, 1, "x0.48"),
        (100, 103, "+3.0%"),
        (1, 1, ""),
        (1, 250, "x250"),
        (1, 1e9, "x1.0e+09"),
        (0, 1, ""),
        (-1, 1, ""),
        (None, 1, ""),
        (True, 2, ""),
        ("a", 2, ""),
        (1e-300, 1e300, ""),
    ],
)
def test_the_size_of_a_change(old, new, text):
    assert times(factor(old, new)) == text


@given(NUMBERS, NUMBERS)
def test_the_factor_times_the_old_number_is_the_new_one(old, new):
    found = factor(old, new)
    assert found is not None
    assert found * old == pytest.approx(new)
    assert len(times(found)) <= 8


def test_a_check_names_both_values_and_the_limit():
    record = RECORDS["find-lr"]
    faster = dataclasses.replace(record.result.suggestion, lr=1e-2)
    new = dataclasses.replace(record, result=dataclasses.replace(record.result, suggestion=faster))
    assert check_limits(record, new, {"lr": "2x", "usable_to": "2x"}, "base.json") == [
        Check("lr within 2x of base.json", False, "is 1.0e-2, was 1.0e-3, x10"),
        Check("usable_to within 2x of base.json", True, "is 1.0e-2, was 1.0e-2"),
    ]


def test_a_result_that_is_gone_is_beyond_any_limit():
    record = RECORDS["find-lr"]
    gone = dataclasses.replace(record, result=None, status="failed")
    (check,) = check_limits(record, gone, {"lr": "1000x"}, "b")
    assert (check.passed, check.detail) == (False, "is none, was 1.0e-3")
    assert check_limits(gone, record, {"lr": "same"}, "b") == []


@given(*[st.dictionaries(st.sampled_from("abcd"), st.none() | st.integers(0, 2))] * 2)
def test_changes_are_exactly_what_differs(old, new):
    found = {change.name: (change.old, change.new) for change in changes(old, new)}
    for name in "abcd":
        if name in found:
            assert found[name] == (old.get(name), new.get(name))
            assert old.get(name) != new.get(name)
        else:
            assert old.get(name) == new.get(name)


def test_the_page_on_history_lists_what_every_command_compares():
    page = (Path(__file__).parents[1] / "docs/history.md").read_text(encoding="utf-8")
    for command in set(QUANTITIES) - {"run", "check"}:
        row = next(line for line in page.splitlines() if line.startswith(f"| {command} |"))
        limits = [f"`{name}={quantity.limit}`" for name, quantity in QUANTITIES[command].items() if quantity.limit]
        others = [f"`{name}`" for name, quantity in QUANTITIES[command].items() if not quantity.limit]
        assert row == f"| {command} | {', '.join(limits)} | {', '.join(others)} |"
