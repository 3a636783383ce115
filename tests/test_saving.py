"""When the record of a run under way is written."""

from __future__ import annotations

import pytest

from lrscout.commands import saving
from lrscout.commands.saving import SaveTimes


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    return now


def save(times, clock, seconds):
    with times.saving():
        clock[0] += seconds


def test_what_is_to_be_saved_at_once_is_due_at_once_while_saving_is_quick(clock):
    times = SaveTimes()
    assert not times.is_now
    times.want(at_once=True)
    assert times.is_now
    save(times, clock, 0.2)  # on a slow disk
    assert not times.is_now
    times.want(at_once=True)
    assert times.is_now


def test_saves_at_once_take_a_tenth_of_the_time_at_most_and_the_last_one_is_not_forgotten(clock):
    times = SaveTimes()
    times.want(at_once=True)
    save(times, clock, 1.0)
    times.want(at_once=True)
    assert not times.is_now
    clock[0] += 8.9
    assert not times.is_now
    clock[0] += 0.2
    assert times.is_now


def test_other_saves_wait_for_two_seconds_and_for_a_fiftieth_of_the_time(clock):
    times = SaveTimes()
    times.want(at_once=False)
    clock[0] += 1.9
    assert not times.is_now
    clock[0] += 0.2
    assert times.is_now
    save(times, clock, 1.0)
    times.want(at_once=False)
    clock[0] += 48.0
    assert not times.is_now
    clock[0] += 2.0
    assert times.is_now
