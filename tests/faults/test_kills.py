"""A command that is ended by a signal, at any phase of its work, ends at once, keeps its record and leaves nothing."""

from __future__ import annotations

import itertools
import os
import random
import sys

import pytest
from kills import COMMANDS, ENDS, PHASES, kill

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
SAMPLE, SEED = 24, 13  # of the matrix: as many as `make test-slow` has time for; `make faults` tries all
WHOLE = [
    (command, phase, end)
    for command, phase, end in itertools.product(COMMANDS, PHASES, ENDS)
    if command != "run" or "SIGINT" not in end  # which waits for the program to end as it does by itself
]
EARLY = 3.0  # seconds within which a command has started, on a quiet machine


def check(folder, command, phase, end):
    ended = kill(folder, command, phase, end)
    assert ended.faults(ENDS[end][1]) == [], ended.text


@pytest.mark.parametrize(
    ("command", "phase", "end"),
    [
        ("find-lr, 2 workers", "stepping", "SIGTERM"),
        ("find-batch-size, 2 workers", "in a step", "SIGKILL"),
        ("find-lr, 2 ranks", "stepping", "SIGKILL"),
    ],
)
def test_nothing_is_left_of_a_command_that_a_signal_ends(tmp_path, command, phase, end):
    check(tmp_path, command, phase, end)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "phase", "end"),
    WHOLE if os.environ.get("FAULTS") == "all" else random.Random(SEED).sample(WHOLE, SAMPLE),
)
def test_nothing_is_left_whatever_the_phase(tmp_path, command, phase, end):
    check(tmp_path, command, phase, end)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60 if os.environ.get("FAULTS") == "all" else 6))
def test_nothing_is_left_of_a_command_that_is_starting(tmp_path, seed):
    rng = random.Random(seed)
    command, end = rng.choice(list(COMMANDS)), rng.choice(["SIGINT", "SIGINT twice", "SIGTERM", "SIGKILL"])
    check(tmp_path, command, 0.2 + EARLY * rng.random(), end)
