"""Settings: names, types, bounds."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrscout.errors import UsageError
from lrscout.search.rules import RULES
from lrscout.settings import (
    COMMANDS,
    FindLrSettings,
    LaunchSettings,
    SessionSettings,
    bounds_problem,
    coerce,
    fields_of,
    make_settings,
    positive_name,
)

FIELDS = {f.name: f for f in fields_of(FindLrSettings)}


def made(**given):
    return make_settings(FindLrSettings, given)


def refusal(**given):
    with pytest.raises(UsageError) as caught:
        made(**given)
    return caught.value


def test_nothing_given_gives_the_defaults():
    assert made() == FindLrSettings()
    assert (made().range, made().use, made().steps, made().rule) == (None, "decay", 150, "scout")


def test_what_is_given_is_set():
    settings = made(min_lr=1e-5, steps=30, rule="valley", optimizer_arg={"betas": [0.9, 0.95]})
    assert (settings.min_lr, settings.steps, settings.rule) == (1e-5, 30, "valley")
    assert settings.optimizer_arg == {"betas": [0.9, 0.95]}


def test_every_default_is_within_its_bounds_and_of_its_type():
    for field in FIELDS.values():
        assert bounds_problem(field, field.default) is None
        assert coerce(field, field.default) == field.default


def test_every_command_puts_its_own_settings_before_the_common_ones():
    for settings in COMMANDS.values():
        base = SessionSettings if issubclass(settings, SessionSettings) else LaunchSettings
        common = [f.name for f in fields_of(base)]
        names = [f.name for f in fields_of(settings)]
        assert names[-len(common) :] == common
        assert sorted(names) == sorted(f.name for f in dataclasses.fields(settings))


def test_every_setting_has_a_help_that_is_a_sentence():
    assert all(f.option.help.endswith(".") for f in FIELDS.values())


def test_every_rule_can_be_chosen():
    assert {made(rule=rule).rule for rule in RULES} == set(RULES)


def test_mappings_are_not_shared_between_settings():
    given = {"lr": 1.0}
    settings = made(optimizer_arg=given)
    given["lr"] = 2.0
    assert settings.optimizer_arg == {"lr": 1.0}
    assert made().optimizer_arg is not made().optimizer_arg


# Names


def test_an_unknown_name_offers_the_closest():
    error = refusal(max_rl=1.0)
    assert "'max_rl'" in error.message
    assert error.hint == "Did you mean 'max_lr'?"


def test_a_name_like_nothing_lists_all():
    assert "max_lr" in refusal(zzzzzz=1).hint


def test_a_boolean_can_be_negated_by_its_name():
    assert made(no_early_stop=True).early_stop is False
    assert made(no_early_stop=False).early_stop is True
    assert made(no_cudnn_benchmark=True).cudnn_benchmark is False
    assert made(no_cudnn_benchmark=None).cudnn_benchmark is None


def test_only_booleans_are_negated():
    assert positive_name("no_compile", FindLrSettings) == ("compile", True)
    assert positive_name("no_steps", FindLrSettings) == ("no_steps", False)
    assert "'no_steps'" in refusal(no_steps=3).message


def test_a_setting_and_its_negation_are_a_contradiction():
    assert "sets 'early_stop' twice" in refusal(early_stop=True, no_early_stop=True).message


# Types


def test_a_whole_number_will_do_for_a_number():
    settings = made(max_lr=1)
    assert settings.max_lr == 1.0
    assert type(settings.max_lr) is float


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"steps": True}, "steps must be a whole number, not True"),
        ({"steps": 20.0}, "steps must be a whole number, not 20.0"),
        ({"steps": "20"}, "steps must be a whole number, not '20'"),
        ({"steps": None}, "steps must be a whole number, not None"),
        ({"max_lr": False}, "max_lr must be a number, not False"),
        ({"max_lr": "1e-3"}, "max_lr must be a number, not '1e-3'"),
        ({"early_stop": 1}, "early_stop must be true or false, not 1"),
        ({"no_early_stop": "yes"}, "early_stop must be true or false, not 'yes'"),
        ({"device": 0}, "device must be text, not 0"),
        ({"optimizer_arg": [1]}, "optimizer_arg must be a mapping, not [1]"),
        ({"max_lr": 10**400}, "max_lr is too large"),
    ],
)
def test_a_value_of_another_type_is_refused(given, told):
    assert told in refusal(**given).message


def test_none_is_taken_where_it_is_a_value():
    assert made(clip_norm=None, optimizer=None).clip_norm is None


# Bounds


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"min_lr": 0.0}, "--min-lr 0.0 must be above 0"),
        ({"min_lr": -1}, "--min-lr -1.0 must be above 0"),
        ({"steps": 2}, "--steps 2 must be at least 3"),
        ({"smoothing": 1.0}, "--smoothing 1.0 must be below 1"),
        ({"smoothing": -0.1}, "--smoothing -0.1 must be at least 0"),
        ({"stop_factor": 0}, "--stop-factor 0.0 must be above 0"),
        ({"accumulate": 0}, "--accumulate 0 must be at least 1"),
        ({"clip_norm": 0}, "--clip-norm 0.0 must be above 0"),
        ({"clip_value": 1e39}, "--clip-value 1e+39 must be below 1e+38"),
        ({"val_batches": -1}, "--val-batches -1 must be at least 0"),
        ({"seed": -1}, "--seed -1 must be at least 0"),
        ({"precision": "fp8"}, "--precision fp8 must be one of fp32, bf16, fp16"),
        ({"spacing": "log"}, "--spacing log must be one of exponential, linear"),
        ({"use": "warmup"}, "--for warmup must be one of decay, constant"),
        ({"horizon": 0}, "--horizon 0 must be at least 1"),
        ({"epochs": 0}, "--epochs 0.0 must be above 0"),
        ({"max_lr": 1e38}, "--max-lr 1e+38 must be below 1e+36"),
        ({"epochs": 1e308}, "--epochs 1e+308 must be below 1e+09"),
        ({"max_steps": 149}, "--max-steps 149 is less"),
        ({"refine": 100}, "--refine 100"),
        ({"refine": "soon"}, "--refine soon"),
    ],
)
def test_a_value_out_of_its_bounds_is_refused_with_the_bound(given, told):
    assert told in refusal(**given).message


@pytest.mark.parametrize("name", [f.name for f in FIELDS.values() if f.type is float])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_no_number_may_be_nan_or_infinite(name, bad):
    assert name.replace("_", "-") in refusal(**{name: bad}).message


def test_values_on_a_closed_bound_are_taken():
    settings = made(smoothing=0.0, seed=0, accumulate=1, horizon=1, max_steps=150)
    assert (settings.smoothing, settings.seed, settings.accumulate) == (0.0, 0, 1)
    assert (settings.horizon, settings.max_steps, settings.most_steps) == (1, 150, 150)


def test_short_trainings_may_take_more_steps_than_the_sweeps_by_default():
    assert made(steps=200).most_steps - 200 == made().most_steps - 150 > 0


def test_a_number_will_do_for_text_that_may_be_one():
    assert made(refine=650).refine == "650"
    assert "refine must be text, not True" in refusal(refine=True).message


def test_a_wrong_choice_offers_the_closest():
    assert refusal(rule="steep").hint == "Did you mean 'steepest'?"


@pytest.mark.parametrize("ends", [(1.0, 0.1), (0.1, 0.1)])
def test_a_sweep_must_rise(ends):
    low, high = ends
    error = refusal(min_lr=low, max_lr=high)
    assert f"--min-lr {low:g} must be below --max-lr {high:g}" in error.message


def test_settings_made_directly_are_checked_too():
    with pytest.raises(UsageError, match="--steps 1 must be at least 3"):
        FindLrSettings(steps=1)


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers(), max_size=2)


@given(st.dictionaries(st.sampled_from([*FIELDS, "no_compile", "other"]), JUNK, max_size=4))
def test_any_values_are_either_taken_or_refused_as_usage(values):
    try:
        settings = make_settings(FindLrSettings, values)
    except UsageError:
        return
    assert settings.range is None or 0 < settings.range[0] < settings.range[1] < math.inf


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"min_lr": 1e-5}, (1e-5, 10.0)),
        ({"max_lr": 1.0}, (1e-7, 1.0)),
        ({"spacing": "linear"}, (1e-7, 10.0)),
        ({"steps": 59}, (1e-7, 10.0)),
        ({"steps": 60}, None),
        ({}, None),
    ],
)
def test_one_sweep_is_made_where_a_range_is_given_or_the_steps_are_few(given, expected):
    assert made(**given).range == expected


def test_a_setting_is_known_by_its_flags_name_too():
    assert make_settings(FindLrSettings, {"for": "constant"}).use == "constant"
    with pytest.raises(UsageError, match="twice"):
        make_settings(FindLrSettings, {"for": "constant", "use": "decay"})


def test_every_setting_says_in_which_group_of_the_help_it_is_shown():
    for settings in COMMANDS.values():
        assert {f.option.group for f in fields_of(settings)} >= {"Target"}
        assert None not in {f.option.group for f in fields_of(settings)}
