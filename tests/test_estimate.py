"""What find-batch-size --dry-run makes of an estimate, and how near the estimate comes to real trials."""

from __future__ import annotations

from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.report.find_batch_size import headline, reasons
from lrscout.results import MemoryBudget, RunRecord
from lrscout.runs.batch_size.estimate import estimated
from lrscout.search.batch_size import Search

MIB = 1 << 20


def estimate(reason="max", budget=100 * MIB, step=None, **bounds):
    """The estimate for a target that needs 20 MiB and 1 MiB a sample."""
    shapes = ShapeEstimate(5 * MIB, 5 * MIB, 10 * MIB, base_bytes=20 * MIB, bytes_per_sample=MIB)
    return estimated(shapes, MemoryBudget(budget, 0.0), Search(**bounds), reason, step)


def told(result):
    record = RunRecord("find-batch-size", "ok", {}, {}, {}, result)
    return " ".join([headline(record), *reasons(result)])


def test_the_dataset_limits_the_estimate_and_it_says_what_memory_would_allow():
    result = estimate("dataset", ceiling=40)
    assert (result.answer, result.estimate.memory_allows, result.estimate.limited_by) == (40, 80, "dataset")
    assert told(result).startswith("Estimated batch size: 40 The dataset has 40 samples, which is the limit: memory")
    assert "would allow about 80." in told(result)


def test_max_limits_the_estimate():
    result = estimate(ceiling=30)
    assert (result.answer, result.estimate.limited_by) == (30, "max")
    assert "--max is 30" in told(result)


def test_memory_limits_the_estimate_below_the_dataset_and_max():
    result = estimate("dataset", ceiling=4000)
    assert (result.answer, result.estimate.limited_by) == (80, "memory")
    assert told(result).startswith("Estimated batch size: about 80 Memory is the limit")


def test_less_than_min_is_no_estimated_size():
    result = estimate(smallest=81)
    assert (result.answer, result.estimate.memory_allows) == (None, 80)
    assert "81 samples need about 101 MiB, and the budget allows 100 MiB." in told(result)
    assert "One sample needs about 21.0 MiB, and the budget allows 20.0 MiB." in told(estimate(budget=20 * MIB))


def test_a_preferred_multiple_is_estimated_where_it_fits():
    assert estimate(step=32).answer == 64
    assert estimate(step=32, smallest=70).answer == 80
