"""Whatever text is parsed, it gives a value that can be used, or an error of ours.

The numbers of inputs are those of test_fuzz.py: `make fuzz` tries more.
"""

from __future__ import annotations

import contextlib
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from inputs import JSON, MANY, NUMBERS, UNITS

from lrscout.errors import UsageError
from lrscout.pairs import parse_value
from lrscout.schedules import SCHEDULES, parse_schedule, schedule_parameters
from lrscout.search.conditions import parse_condition
from lrscout.settings.find_lr import read_refine
from lrscout.settings.quantities import friendly_step, memory_bytes, seconds, share

some = settings(max_examples=max(MANY // 20, 50), derandomize=MANY < 10_000)


def texts_of(*words: str) -> st.SearchStrategy[str]:
    """Texts of these words, numbers and anything else, in any order."""
    part = st.sampled_from(words) | st.sampled_from(NUMBERS) | st.text(max_size=3)
    return st.lists(part, max_size=9).map("".join)


NAMES = [*SCHEDULES, "torch:StepLR", "tiny.py:f"]
KEYS = sorted({key for name in SCHEDULES for key in schedule_parameters(name)})
SPECS = [parse_schedule(text) for text in ("cosine", "wsd", "cosine:warmup=0.05", "linear:warmup=0.05")]
built_in = st.sampled_from(list(SCHEDULES)).flatmap(
    lambda name: st.dictionaries(
        st.sampled_from(sorted(schedule_parameters(name))),
        st.sampled_from(["0", "0.5", "1", "3", "[0.5,0.75]", *NUMBERS]),
    ).map(lambda given: f"{name}:{','.join(f'{key}={value}' for key, value in given.items())}".removesuffix(":"))
)


@some
@given(built_in | texts_of(*NAMES, *KEYS, ":", "=", ",", "[", "]", " "), st.integers(0, 40), st.integers(1, 40))
def test_a_schedule_is_refused_or_reads_as_its_label_and_stays_between_0_and_1(text, step, total):
    with contextlib.suppress(UsageError):
        spec = parse_schedule(text)
        assert parse_schedule(spec.label) == spec
        assert not spec.is_builtin or 0 <= spec(step, total, (1.0, 2.0)) <= 1


@some
@given(st.dictionaries(st.sampled_from(["name", *KEYS]) | st.text(max_size=3), st.sampled_from([*JSON, *NAMES])))
def test_a_schedule_of_a_recipe_is_refused_or_stays_between_0_and_1(mapping):
    with contextlib.suppress(UsageError):
        spec = parse_schedule(mapping)
        assert not spec.is_builtin or 0 <= spec(3, 10, (1.0, 2.0)) <= 1


@some
@given(texts_of("worse", "better", " than ", "not ", " worse than ", *(spec.label for spec in SPECS)))
def test_a_condition_is_refused_or_reads_as_it_is_shown(text):
    with contextlib.suppress(UsageError):
        condition = parse_condition(text, SPECS)
        assert parse_condition(str(condition), SPECS) == condition


@some
@given(texts_of(*UNITS, "multiple-of-", ".", " "))
def test_an_amount_is_refused_or_can_be_counted_with(text):
    with contextlib.suppress(UsageError):
        assert memory_bytes(text, available=1 << 40) >= 1
    with contextlib.suppress(UsageError):
        assert 0 <= share(text, "--margin") < 1
    with contextlib.suppress(UsageError):
        assert 0 < seconds(text, "--time-budget", "For example 10m.") < math.inf
    with contextlib.suppress(UsageError):
        assert friendly_step(text) != 0
    with contextlib.suppress(UsageError):
        budget = read_refine(text)
        assert budget.steps or 0 < budget.seconds < math.inf


def is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(is_plain(item) for pair in value.items() for item in pair)
    return (
        all(map(is_plain, value)) if isinstance(value, list) else value is None or isinstance(value, (str, int, float))
    )


@some
@given(
    texts_of("[", "]", "{", "}", ": ", "- ", "\n", "&a ", "*a", "!!str ", "!x ", "'", '"', "\\U", "\\x", "<<: ", "|\n")
)
def test_a_value_of_yaml_is_refused_or_plain(text):
    with contextlib.suppress(UsageError):
        assert is_plain(parse_value(text))
