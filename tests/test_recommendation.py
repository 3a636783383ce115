"""The recommended size, and the reason for it."""

from __future__ import annotations

import re
from dataclasses import replace

from lrscout.report.batch_size_table import size_rows
from lrscout.report.find_batch_size import answer as quiet_answer
from lrscout.report.find_batch_size import facts, headline, problem
from lrscout.report.terminal import PAGE
from lrscout.report.views import summary
from lrscout.results import GradientNoise, MemoryBudget, NoiseMoment, RunRecord, StepTiming, Trial
from lrscout.search.batch_size import Search, SearchEnd
from lrscout.search.goodput import OBJECTIVES
from lrscout.search.recommendation import REASONS, conclude, warnings_about

MIB = 1 << 20


def answer(rates, step=None, mode="fit", stop_reason="out_of_memory", **more):
    """The result of trials that fit at these samples a second, up to a size that does not."""
    peaks = more.get("peaks", {})
    trials = [Trial(size, "fits", peaks.get(size, size * MIB), rate, 0.1, 6) for size, rate in rates.items()]
    trials.append(Trial(2 * max(rates, default=4), "out_of_memory", None, None, 0.1, 0))
    return conclude(SearchEnd(tuple(trials), stop_reason, 1.0), Search(), mode, MemoryBudget(1000 * MIB, 0.05), step)


def roles(result):
    return {int(size): role for size, *_, role in size_rows(result)}


def test_the_reason_compares_with_the_preferred_sizes_alone():
    result = answer({8: 90.0, 16: 93.0, 23: 200.0}, step=8)
    assert (result.batch_size, result.largest_fitting) == (8, 16)
    assert "no more than 5% faster" in result.reason
    assert roles(result)[16] == "largest preferred size"
    assert warnings_about(result, 8) == ()


def test_no_preferred_size_at_all_is_a_warning():
    result = answer({4: 90.0, 9: 99.0}, step=64)
    assert result.largest_fitting == 9
    assert roles(result)[9] == "fastest, largest that fits"
    assert "multiple of 64" in warnings_about(result, 64)[0]


def test_power_mode_does_not_claim_the_largest_that_fits():
    rates = {4: 90.0, 8: 99.0}
    assert roles(answer(rates, mode="power"))[8] == "fastest, largest that ran"
    assert roles(answer(rates, mode="binsearch"))[8] == "fastest, largest that fits"


def test_verbose_shows_the_peaks_by_phase_and_the_parts_of_the_largest_size():
    parts = {"weight_bytes": MIB, "gradient_bytes": MIB, "optimizer_state_bytes": 2 * MIB, "activation_bytes": 30 * MIB}
    trial = Trial(8, "fits", 40 * MIB, 99.0, 0.1, 6, 40 * MIB, 9 * MIB, **parts)
    end = SearchEnd((trial,), "max", 1.0)
    result = conclude(end, Search(), "fit", MemoryBudget(1000 * MIB, 0.05))
    record = RunRecord("find-batch-size", "ok", {}, {}, {}, result)
    told = summary(record, replace(PAGE, verbose=True))
    assert re.search(r"peak at batch size +forward and backward +optimizer step\n.*\n8 +40.0 MiB +9.00 MiB\n", told)
    assert re.search(r"at size 8 +memory\n", told)
    rows = [("weights", 1), ("gradients", 1), ("optimizer state", 2), ("activations and batch", 30)]
    for name, size in (*rows, ("rest of the peak", 6)):
        assert re.search(rf"^{name} +{size}.0+ MiB$", told, re.MULTILINE), name
    assert "forward and backward" not in summary(record, PAGE)


def test_an_interrupted_search_recommends_nothing_and_says_what_ran():
    for rates, told in ({4: 90.0, 8: 99.0}, "sizes up to 8 ran"), ({}, "no size had run yet"):
        result = answer(rates, stop_reason="interrupted")
        record = RunRecord("find-batch-size", "interrupted", {}, {}, {}, result)
        assert result.batch_size is None
        assert [t.batch_size for t in result.trials if t.outcome == "fits"] == list(rates)
        assert headline(record) == f"Interrupted: {told}"
        assert quiet_answer(record) is None
        assert problem(record) == f"Interrupted: {told}."
        assert "Recommended" not in summary(record, PAGE)


def test_an_interrupted_search_for_evaluation_keeps_the_recommendation_for_training():
    evaluation = answer({4: 90.0}, stop_reason="interrupted")
    result = replace(answer({4: 90.0, 8: 99.0}), evaluation=evaluation)
    record = RunRecord("find-batch-size", "interrupted", {}, {}, {}, result)
    assert headline(record) == "Recommended batch size: 8"
    assert quiet_answer(record) == "8"
    assert problem(record) == "Batch size for evaluation, without gradients: interrupted, sizes up to 4 ran."
    assert problem(record).removesuffix(".") in summary(record, PAGE)


def test_a_fit_that_starts_below_zero_is_shown_by_its_slope():
    def told(peaks):
        result = answer({4: 90.0, 8: 99.0}, peaks=peaks)
        record = RunRecord(
            "find-batch-size", "ok", {"path": "mymod:build", "kwargs": {}, "app_dir": None}, {}, {}, result
        )
        return facts(record)["memory"]

    assert told({4: 5 * MIB, 8: 9 * MIB}).startswith("1.00 MiB + 1.00 MiB per sample")
    assert told({4: 3 * MIB, 8: 7 * MIB}).startswith("1.00 MiB per sample")


def timed(*sizes, objective="time", noise=100.0, each=0.001):
    """The result of sizes whose step takes 10 ms, and so much for every sample."""
    timings = [StepTiming(s, s, 0.01 + each * s, 0.01 + each * s, 0.01 + each * s, 12) for s in sizes]
    trials = tuple(Trial(size, "fits", size * MIB, 1.0, 0.1, 6) for size in sizes)
    return conclude(
        SearchEnd(trials, "max", 1.0),
        Search(),
        "fit",
        MemoryBudget(10_000 * MIB, 0.05),
        objective=objective,
        timings=timings,
        noise_scale=noise,
    )


def test_the_reason_says_what_a_larger_batch_would_cost_and_from_where_it_teaches_little():
    result = timed(8, 32, 128, 512)
    assert result.batch_size == 32
    assert "3.6 times as fast as size 512" in result.reason
    assert "about 100 samples" in result.reason
    assert "and the largest" in timed(8, 32, noise=1000.0).reason


def test_every_objective_has_its_size_and_its_reason():
    assert set(OBJECTIVES) == set(REASONS)
    fewest = timed(1, 8, 32, 128, objective="samples")
    assert (fewest.batch_size, "10% more samples than size 1" in fewest.reason) == (8, True)
    most = timed(1, 8, 32, 128, objective="memory")
    assert (most.batch_size, most.reason) == (128, "the largest that fits")


def test_the_fastest_is_told_beside_the_one_that_trains_fastest():
    result = timed(8, 32, 128, 512, noise=10.0)
    assert result.fastest.batch_size > result.batch_size


def test_without_a_noise_scale_the_fastest_is_recommended():
    result = timed(8, 32, 128, 512, noise=None)
    assert result.batch_size == result.fastest.batch_size == 512
    assert "the largest that ran is also the fastest" in result.reason


def noise_fact(*moments, scale, dataset=None):
    result = replace(timed(8, 32), noise=GradientNoise(64, moments, scale), dataset_size=dataset)
    record = RunRecord("find-batch-size", "ok", {"path": "mymod:build", "kwargs": {}, "app_dir": None}, {}, {}, result)
    return facts(record)["noise scale"]


def test_the_noise_scale_is_told_for_two_moments():
    early, late = NoiseMoment(20, 2.0, 30.4, 1024), NoiseMoment(160, 1.0, 951.0, 1024)
    assert noise_fact(early, late, scale=170.0).startswith("30 samples after 20 steps, 951 samples after 160 steps; it")
    assert noise_fact(early, scale=30.4) == "30 samples after 20 steps"
    assert noise_fact(NoiseMoment(20, 2.0, None, 1024), scale=4096.0) == "more than 4,096 samples after 20 steps"
    assert noise_fact(early, late, scale=16.0, dataset=256).endswith("taken to be at most 1/16 of the dataset")
