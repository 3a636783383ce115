"""Schedules as pure functions, held against torch's own values, and how a user names one."""

import math
import pickle
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as theirs

from lrscout.errors import UsageError
from lrscout.schedules import (
    DEFAULT_SCHEDULES,
    SCHEDULES,
    describe_schedule,
    parse_schedule,
    parse_schedules,
    schedule_among,
    schedule_parameters,
)
from lrscout.schedules.parameters import Range
from lrscout.search.training import evaluation_steps
from lrscout.settings import CompareSchedulersSettings, RunSettings, TuneSettings, check_kind

DOCS = Path(__file__).resolve().parents[1] / "docs" / "schedules.md"
TOTAL = 70
NUMBERS = st.floats(1e-3, 1.0)  # a ratio or a factor
LENGTHS = st.one_of(st.integers(0, 300), st.floats(0, 0.99))


def ours(text, total=TOTAL):
    spec = parse_schedule(text)
    return [spec(step, total) for step in range(total)]


def torchs(make, total=TOTAL, momentum=0.0):
    """The rate at every step of a scheduler of torch's, and the momentum."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0, momentum=momentum)
    scheduler = make(optimizer)
    rates, momenta = [], []
    for _ in range(total):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if len(rates) < total:
            scheduler.step()
    return momenta if momentum else rates


def one_cycle(**more):
    more = {"cycle_momentum": False, **more}
    return lambda o: theirs.OneCycleLR(o, max_lr=1.0, total_steps=TOTAL, **more)


def cyclic(cycles=4, up=0.5, **more):
    period = TOTAL / cycles
    more = {"cycle_momentum": False, "base_lr": 0.1, **more}
    return lambda o: theirs.CyclicLR(o, max_lr=1.0, step_size_up=up * period, step_size_down=(1 - up) * period, **more)


SAME_IN_TORCH = {
    "constant": lambda o: theirs.ConstantLR(o, factor=1.0),
    "linear": lambda o: theirs.LinearLR(o, 1.0, 0.0, total_iters=TOTAL),
    "linear:min_ratio=0.2": lambda o: theirs.LinearLR(o, 1.0, 0.2, total_iters=TOTAL),
    "polynomial:power=3": lambda o: theirs.PolynomialLR(o, total_iters=TOTAL, power=3.0),
    "polynomial:power=0.9": lambda o: theirs.PolynomialLR(o, total_iters=TOTAL, power=0.9),
    "cosine": lambda o: theirs.CosineAnnealingLR(o, T_max=TOTAL),
    "cosine:min_ratio=0.1": lambda o: theirs.CosineAnnealingLR(o, T_max=TOTAL, eta_min=0.1),
    "step": lambda o: theirs.StepLR(o, step_size=21),
    "step:size=10,gamma=0.5": lambda o: theirs.StepLR(o, step_size=10, gamma=0.5),
    "multistep": lambda o: theirs.MultiStepLR(o, [35, 53]),
    "multistep:milestones=[7,0.5,60],gamma=0.3": lambda o: theirs.MultiStepLR(o, [7, 35, 60], gamma=0.3),
    "exponential": lambda o: theirs.ExponentialLR(o, gamma=0.01 ** (1 / TOTAL)),
    "cosine-restarts": lambda o: theirs.CosineAnnealingWarmRestarts(o, T_0=10, T_mult=2),
    "cosine-restarts:cycles=5,t_mult=1,min_ratio=0.1": lambda o: theirs.CosineAnnealingWarmRestarts(o, 14, 1, 0.1),
    "one-cycle": one_cycle(),
    "one-cycle:pct_start=0.2,anneal=linear": one_cycle(pct_start=0.2, anneal_strategy="linear"),
    "one-cycle:three_phase=true,div=10,final_div=100": one_cycle(three_phase=True, div_factor=10, final_div_factor=100),
    "one-cycle:pct_start=0": one_cycle(pct_start=0.0),
    "one-cycle:pct_start=1": one_cycle(pct_start=1.0),
    "cyclic": cyclic(),
    "cyclic:mode=triangular2,cycles=7,up=0.25": cyclic(7, 0.25, mode="triangular2"),
    "cyclic:mode=exp_range,end_ratio=0.05": cyclic(mode="exp_range", gamma=0.05 ** (1 / TOTAL)),
    "cyclic:base_ratio=0.5,cycles=3": cyclic(3, base_lr=0.5),
    "cosine:warmup=10": lambda o: theirs.SequentialLR(
        o,
        [theirs.LinearLR(o, 1 / 11, 1.0, total_iters=10), theirs.CosineAnnealingLR(o, T_max=TOTAL - 10)],
        milestones=[10],
    ),
    "step:warmup=0.1,size=20": lambda o: theirs.SequentialLR(
        o, [theirs.LinearLR(o, 1 / 8, 1.0, total_iters=7), theirs.StepLR(o, step_size=20)], milestones=[7]
    ),
}


@pytest.mark.parametrize("text", SAME_IN_TORCH)
def test_a_schedule_has_torchs_own_values_at_every_step(text):
    assert ours(text) == pytest.approx(torchs(SAME_IN_TORCH[text]), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(
    ("text", "make"),
    [
        ("one-cycle", one_cycle(cycle_momentum=True)),
        (
            "one-cycle:three_phase=true,low_momentum=0.7",
            one_cycle(cycle_momentum=True, three_phase=True, base_momentum=0.7),
        ),
        ("cyclic", cyclic(cycle_momentum=True)),
        (
            "cyclic:mode=triangular2,high_momentum=0.99",
            cyclic(mode="triangular2", cycle_momentum=True, max_momentum=0.99),
        ),
        ("cyclic:mode=exp_range", cyclic(mode="exp_range", gamma=0.1 ** (1 / TOTAL), cycle_momentum=True)),
    ],
)
def test_the_momentum_goes_with_the_rate_as_torchs_does(text, make):
    spec = parse_schedule(text)
    assert [spec.momentum(s, TOTAL) for s in range(TOTAL)] == pytest.approx(torchs(make, momentum=0.9), rel=1e-9)


def test_the_momentum_is_left_alone_where_it_is_switched_off_or_has_no_cycle():
    assert parse_schedule("one-cycle:cycle_momentum=false").momentum(3, 10) is None
    assert parse_schedule("cosine").momentum(3, 10) is None


@given(
    st.lists(st.one_of(st.floats(0.1, 10), st.just(math.nan)), max_size=60),
    st.floats(0.1, 0.9),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from([0.0, 1e-4, 0.1]),
    st.sampled_from([0.0, 0.05]),
)
def test_plateau_has_torchs_own_values_after_every_evaluation(metrics, factor, patience, cooldown, threshold, floor):
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    more = {"factor": factor, "patience": patience, "cooldown": cooldown, "threshold": threshold}
    scheduler = theirs.ReduceLROnPlateau(optimizer, eps=0.0, min_lr=floor, **more)
    spec = parse_schedule({"name": "plateau", "min_ratio": floor, **more})
    for seen in range(len(metrics)):
        scheduler.step(metrics[seen])
        assert spec(seen, 100, metrics[: seen + 1]) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)


def test_plateau_treats_a_falling_negative_metric_as_torch_treats_a_rising_positive_one():
    accuracies = [0.1, 0.5, 0.6, 0.6, 0.6, 0.59, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7]
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = theirs.ReduceLROnPlateau(optimizer, mode="max", patience=3)
    spec = parse_schedule("plateau")
    for seen, accuracy in enumerate(accuracies):
        scheduler.step(accuracy)
        assert spec(0, 100, [-a for a in accuracies[: seen + 1]]) == pytest.approx(optimizer.param_groups[0]["lr"])


def values_of(parameter):
    """Any value that a parameter may have, within reason."""
    name = parameter.type
    if name.startswith("a list"):
        return st.lists(LENGTHS.filter(lambda n: n < 1 or n == int(n)), min_size=1, max_size=4)
    if name.startswith("a whole number of steps"):
        return LENGTHS
    if parameter.hint is bool:
        return st.booleans()
    if isinstance(parameter.default, str):
        return st.sampled_from(name.split(" or "))
    limits = next(each for each in parameter.hint.__metadata__ if isinstance(each, Range))
    if isinstance(parameter.default, int):
        return st.integers(int(limits.low), int(min(limits.high, 100)))
    return st.floats(max(limits.low, 1e-3), min(limits.high, 1e9))


@st.composite
def specs(draw):
    name = draw(st.sampled_from(list(SCHEDULES)))
    known = schedule_parameters(name)
    chosen = draw(st.sets(st.sampled_from(sorted(known))))
    return parse_schedule({"name": name, **{key: draw(values_of(known[key])) for key in sorted(chosen)}})


@given(specs(), st.integers(1, 200))
def test_the_multiplier_is_between_0_and_1_at_every_step_of_any_run(spec, total):
    ratios = [spec(step, total) for step in range(total)]
    assert all(0 <= ratio <= 1 for ratio in ratios)
    assert ratios[0] > 0


@given(specs(), st.integers(1, 50))
def test_past_its_last_step_a_schedule_stays_where_it_is(spec, total):
    assert spec(total, total) == spec(10 * total, total) == spec(total - 1, total)


@given(specs(), st.integers(1, 50))
def test_a_momentum_is_between_0_and_1_too(spec, total):
    momenta = [spec.momentum(step, total) for step in range(total)]
    assert all(momentum is None or 0 <= momentum <= 1 for momentum in momenta)


@given(st.sampled_from(list(SCHEDULES)), st.integers(1, 60), st.integers(61, 200))
def test_a_warmup_rises_in_equal_steps_to_where_the_schedule_begins(name, warmup, total):
    spec = parse_schedule(f"{name}:warmup={warmup}")
    peak = 1.0 if name == "inverse-sqrt" else parse_schedule(name)(0, total - warmup)
    ramp = [spec(step, total) for step in range(warmup + 1)]
    assert ramp == pytest.approx([peak * (step + 1) / (warmup + 1) for step in range(warmup + 1)])


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "inverse-sqrt"])  # there it is in the formula
def test_after_the_warmup_a_schedule_runs_as_it_would_over_the_steps_that_are_left(name):
    assert ours(f"{name}:warmup=0.2", 100)[20:] == ours(name, 80)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warmup_longer_than_the_run_is_all_that_there_is_of_it(name):
    ratios = ours(f"{name}:warmup=100", 10)
    assert ratios == pytest.approx([ratios[0] * (step + 1) for step in range(10)])


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name not in ("one-cycle", "cyclic", "inverse-sqrt")])
def test_a_run_of_one_step_is_at_the_peak(name):
    assert ours(name, 1) == [1.0]


def test_noam_has_the_papers_shape():
    width, warmup = 512, 40
    paper = [width**-0.5 * min(s**-0.5, s * warmup**-1.5) for s in range(1, 201)]
    assert ours("inverse-sqrt:warmup=39", 200) == pytest.approx([rate / max(paper) for rate in paper])


def test_rex_has_the_papers_values():
    assert ours("rex", 4) == pytest.approx([1.0, 0.75 / 0.875, 0.5 / 0.75, 0.25 / 0.625])


def test_wsd_stays_at_the_peak_and_decays_over_the_last_fifth():
    linear = ours("wsd:shape=linear", 100)
    assert linear[:81] == [1.0] * 81
    assert linear[80:] == pytest.approx([1 - n / 20 for n in range(20)])
    root = ours("wsd:decay=20,min_ratio=0.5", 100)
    assert root[80:] == pytest.approx([1 - 0.5 * math.sqrt(n / 20) for n in range(20)])


def test_restarts_begin_at_a_decayed_peak_and_end_at_the_same_floor():
    ratios = ours("cosine-restarts:cycles=3,t_mult=1,restart_decay=0.5,min_ratio=0.1", 300)
    assert (ratios[0], ratios[100], ratios[200]) == (1.0, 0.5, 0.25)
    assert max(ratios[99], ratios[199], ratios[299]) < 0.101


def test_every_schedule_says_in_a_line_what_it_is_and_what_its_parameters_may_be():
    for name in SCHEDULES:
        assert describe_schedule(name).endswith(".")
        parameters = schedule_parameters(name)
        assert "warmup" in parameters
        for parameter in parameters.values():
            assert parameter.type
            assert parameter.check(parameter.default) == parameter.default


def test_a_line_of_text_and_a_mapping_give_the_same_schedule():
    text = parse_schedule("multistep:milestones=[0.5,90],gamma=0.5,warmup=10")
    mapping = parse_schedule({"name": "multistep", "milestones": [0.5, 90], "gamma": 0.5, "warmup": 10})
    assert text == mapping
    assert text.params == {"milestones": (0.5, 90), "gamma": 0.5, "warmup": 10}


def test_a_spec_knows_its_name_its_label_and_all_parameters_and_travels_to_another_process():
    spec = parse_schedule("onecycle:pct_start=0.2")
    assert (spec.name, spec.label) == ("one-cycle", "onecycle:pct_start=0.2")
    assert spec.params["pct_start"] == 0.2
    assert spec.params["div"] == 25.0
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize("name", ["onecycle", "one_cycle", "One-Cycle", " one-cycle "])
def test_a_name_may_be_written_with_or_without_its_hyphens(name):
    assert parse_schedule(name).name == "one-cycle"


def test_a_value_takes_the_parameters_type():
    assert parse_schedule("cosine:min_ratio=0").params["min_ratio"] == 0.0
    assert isinstance(parse_schedule("cosine-restarts:cycles=4.0").params["cycles"], int)
    assert parse_schedule("multistep:milestones=30").params["milestones"] == (30,)
    assert parse_schedule("one-cycle:three-phase=true").params["three_phase"] is True


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("cosin", "There is no schedule 'cosin'.\nDid you mean 'cosine'?"),
        ("sawtooth", "Available: constant, linear"),
        ("", "There is no schedule ''."),
        ("cosine:min_rato=0.1", "cosine has no parameter 'min_rato'.\nDid you mean 'min_ratio'?"),
        ("constant:gamma=1", "constant has no parameter 'gamma'.\nAvailable: warmup."),
        ("cosine:min_ratio=half", "cosine: min_ratio must be a number from 0 to 1, not 'half'."),
        ("cosine:min_ratio=1.5", "must be a number from 0 to 1, not 1.5."),
        ("cosine:min_ratio=nan", "must be a number from 0 to 1, not nan."),
        ("cosine:min_ratio=true", "must be a number from 0 to 1, not True."),
        ("exponential:end_ratio=0", "must be a number above 0 and up to 1, not 0."),
        ("cosine-restarts:cycles=2.5", "must be a whole number from 1 to 100, not 2.5."),
        ("cosine:warmup=2.5", "warmup must be a whole number of steps or a fraction below 1, not 2.5."),
        ("cosine:warmup=-1", "not -1."),
        ("cosine:warmup=1" + 400 * "0", "warmup must be a whole number of steps"),
        ("wsd:shape=liner", "shape must be 1-sqrt or linear, not 'liner'.\nDid you mean 'linear'?"),
        ("one-cycle:three_phase=1", "three_phase must be true or false, not 1."),
        ("cosine:min_ratio", "'min_ratio' in 'cosine:min_ratio' is not key=value."),
        ("cosine:min_ratio=0.1,", "'' in 'cosine:min_ratio=0.1,' is not key=value."),
        ("cosine:min_ratio=0,min-ratio=1", "gives 'min_ratio' twice"),
        ("cosine:warmup=1,warmup=2", "gives 'warmup' twice"),
        ("torch:", "'torch:' is not a valid schedule."),
        ("torch:CosineAnnealingLR:T_max=$totl", "there is no placeholder $totl.\nDid you mean '$total'?"),
        ("torch:CosineAnnealingLR:T_max=$warmup", "$warmup is used, but no warmup is given."),
        ("mymod:curve:warmup=-3", "mymod:curve: warmup must be a whole number of steps"),
        (3, "3 is not a valid schedule."),
        ({"min_ratio": 0.1}, "is not a valid schedule."),
        ({"name": "cosine:min_ratio=0.1"}, "'min_ratio=0.1' in 'cosine:min_ratio=0.1' is not key=value."),
        ("cosine+swe", "'cosine+swe': there is no '+swe'."),
        ("cosine+swa+swa", "there is a second '+swa'."),
        ("cosine+swa:start=0.95", "+swa: start must be a number from 0 to 0.9, not 0.95."),
        ("cosine+swa:0.8", "'0.8' in 'cosine+swa:0.8' is not key=value."),
        ("cosine+swa:warmup=0.05", "+swa has no parameter 'warmup'.\nIt has start. Those of the schedule go before"),
        ({"name": "cosine+swa", "start": 0.5}, "cosine has no parameter 'start'."),
        ({"name": "cosine", "min_ratio": "0.1"}, "min_ratio must be a number from 0 to 1, not '0.1'."),
    ],
)
def test_a_mistake_is_told_with_what_was_meant_or_may_be(given, told):
    with pytest.raises(UsageError) as caught:
        parse_schedule(given)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "rates", "kind", "start"),
    [
        ("cosine+swa", "cosine", "cosine+swa", 0.75),
        ("wsd:warmup=0.05+swa:start=0.8", "wsd:warmup=0.05", "wsd+swa", 0.8),
        ("multistep:milestones=[0.5,0.7]+swa", "multistep:milestones=[0.5,0.7]", "multistep+swa", 0.75),
        ("cosine:min_ratio=1e+0", "cosine:min_ratio=1e+0", "cosine", None),
        ("torch:StepLR:step_size=3+swa:start=0", "torch:StepLR:step_size=3", "torch:StepLR+swa", 0.0),
        ("mymod:curve+swa", "mymod:curve", "mymod:curve+swa", 0.75),
        ({"name": "cosine+swa:start=0.5", "warmup": 7}, "cosine:warmup=7", "cosine+swa", 0.5),
    ],
)
def test_swa_follows_any_schedule_and_leaves_its_rates_alone(given, rates, kind, start):
    spec, alone = parse_schedule(given), parse_schedule(rates)
    assert (spec.rates, spec.kind, spec.name, spec.params) == (rates, kind, alone.name, alone.params)
    assert (None if spec.averaging is None else spec.averaging.start) == start
    assert parse_schedule(spec.label) == spec
    if spec.is_builtin:
        assert [spec(step, TOTAL) for step in range(TOTAL)] == ours(rates)


@given(total=st.integers(10, 5000), start=st.floats(0, 0.9))
def test_all_that_is_compared_is_evaluated_after_the_averaging_began(total, start):
    first = parse_schedule(f"cosine+swa:start={start!r}").averaging.first_step(total)
    assert 0 <= first <= min(evaluation_steps(total, 1000))


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cosine", "cosine:warmup=0.05"),
        ("cosine+swa", "cosine:warmup=0.05+swa:start=0.8"),
        ("wsd", "wsd+swa"),
        ("cosine:warmup=0.05+swa:start=0.8", "cosine:warmup=0.05+swa:start=0.8"),
    ],
)
def test_a_name_finds_a_schedule_with_or_without_swa(name, label):
    specs = parse_schedules(["cosine:warmup=0.05", "cosine:warmup=0.05+swa:start=0.8", "wsd+swa"])
    assert schedule_among(name, specs).label == label


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("command", "Use wsd, and torch.optim.swa_utils.AveragedModel in the program."),
        ("ranks", "Leave out --nproc, or use wsd."),
    ],
)
def test_weights_in_other_processes_cannot_be_averaged(kind, hint):
    for made in (CompareSchedulersSettings(schedules=("cosine", "wsd+swa")), TuneSettings(schedules=("wsd+swa",))):
        check_kind(made, "target")
        with pytest.raises(UsageError, match=r"wsd\+swa is for targets") as caught:
            check_kind(made, kind)
        assert caught.value.hint == hint
    with pytest.raises(UsageError, match=r"wsd\+swa is for targets alone"):
        RunSettings(schedule="wsd+swa")


def test_a_schedule_given_twice_is_refused():
    with pytest.raises(UsageError, match="given twice"):
        parse_schedules(["cosine", "linear", "cosine"])


def test_the_default_four_are_warmed_up_except_the_constant_one():
    assert [(spec.name, spec.warmup) for spec in parse_schedules(DEFAULT_SCHEDULES)] == [
        ("constant", 0),
        ("linear", 0.05),
        ("cosine", 0.05),
        ("wsd", 0.05),
    ]


def test_the_docs_have_a_row_for_every_schedule_with_all_its_parameters():
    rows = [line.split("|")[1:-1] for line in DOCS.read_text(encoding="utf-8").split("\n") if line.startswith("| `")]
    documented = {row[0].strip(" `"): re.findall(r"`(\w+)`", row[2]) for row in rows if len(row) == 6}
    shared = {name: [key for key in schedule_parameters(name) if key != "warmup"] for name in SCHEDULES}
    assert documented == {**shared, "inverse-sqrt": ["warmup"]}


def test_schedules_in_one_text_are_told_to_be_given_one_by_one():
    with pytest.raises(UsageError) as caught:
        parse_schedule("cosine,wsd")
    assert caught.value.hint == "Give each an option of its own: -s cosine -s wsd"
