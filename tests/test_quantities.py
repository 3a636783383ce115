"""Amounts of memory and shares, as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.errors import UsageError
from lrscout.settings import FindBatchSizeSettings, make_settings
from lrscout.settings.quantities import friendly_step, memory_bytes, seconds, share


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("11GiB", 11 << 30),
        ("1.5 GiB", 3 << 29),
        ("800MB", 800_000_000),
        ("512m", 512 << 20),
        ("4096B", 4096),
        ("80%", 800),
        ("100%", 1000),
    ],
)
def test_amounts_of_memory(text, expected):
    assert memory_bytes(text, available=1000) == expected


@pytest.mark.parametrize("text", ["", "GiB", "11 gigs", "-1GiB", "0", "0%", "1,5GiB", "nan"])
def test_no_amount_of_memory(text):
    with pytest.raises(UsageError):
        memory_bytes(text, available=1000)


def test_an_amount_of_memory_without_a_unit_is_asked_for_one():
    with pytest.raises(UsageError, match="--budget 10 needs a unit"):
        memory_bytes("10", available=1000)


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("5m", 300), ("1.5 h", 5400), (".5m", 30), ("20", 20)])
def test_times(text, expected):
    assert seconds(text, "--budget", "") == expected


@pytest.mark.parametrize("text", ["", "s", "0s", "5 minutes", "5%", "-1s", "1e3s", "nan"])
def test_what_is_not_a_time(text):
    with pytest.raises(UsageError, match="is not a time"):
        seconds(text, "--budget", "For example 5m.")


@given(st.floats(0, 0.99))
def test_a_share_is_read_as_percentage_and_as_number(value):
    assert share(f"{value * 100:.6f}%", "--margin") == pytest.approx(value, abs=1e-7)
    assert share(f"{value:.6f}", "--margin") == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("text", ["100%", "1", "5 GiB", "x", ""])
def test_no_share(text):
    with pytest.raises(UsageError, match="--margin"):
        share(text, "--margin")


def test_friendly_steps():
    assert [friendly_step(text) for text in (None, "multiple-of-8", "multiple-of 64")] == [None, 8, 64]
    with pytest.raises(UsageError, match="multiple-of-8"):
        friendly_step("round")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"min": 8, "max": 4}, "--max 4"),
        ({"budget": "lots"}, "--budget lots"),
        ({"margin": "120%"}, "--margin"),
        ({"resolution": "x"}, "--resolution"),
        ({"prefer": "even"}, "--prefer"),
        ({"dry_run": True}, "--dry-run"),
        ({"dry_run": True, "budget": "50%"}, "--dry-run"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_runs(given, told):
    with pytest.raises(UsageError, match=told):
        make_settings(FindBatchSizeSettings, given)
