"""The learning rate for the recommended batch size: by a rule, and as the report tells it."""

from __future__ import annotations

import re
from dataclasses import replace

from lrscout.report.find_batch_size import markdown, summary
from lrscout.report.terminal import PAGE
from lrscout.results import BatchSizeResult, MemoryBudget, OwnSize, RunRecord, Trial
from lrscout.search.batch_size import Search, SearchEnd
from lrscout.search.recommendation import conclude
from lrscout.search.scaling import scaled_rate


def result_with(own: OwnSize | None, size: int = 128, **more) -> BatchSizeResult:
    """A search that recommends this size."""
    end = SearchEnd((Trial(size, "fits", 1 << 20, 100.0, 0.1, 6),), "max", 1.0)
    found = conclude(end, Search(), "fit", MemoryBudget(1 << 30, 0.05))
    rate = None if own is None else scaled_rate(own.lr, own.optimizer, own.batch_size, size)
    return replace(found, own=own, rate=rate, **more)


def report(result: BatchSizeResult) -> str:
    return summary(RunRecord("find-batch-size", "ok", {}, {}, {}, result), PAGE)


def test_the_report_has_one_rate_for_the_recommended_size_and_names_its_rule():
    told = report(result_with(OwnSize(32, 0.1, "SGD")))
    assert re.search(r"learning rate for +by the linear rule\n.*\n32 \(current\) +1.0e-1\n128 +4.0e-1\n", told)
    assert "square-root" not in told
    assert "by the square-root rule" in report(result_with(OwnSize(32, 0.1, "AdamW")))


def test_a_rate_that_is_unknown_is_told_as_a_factor():
    told = report(result_with(OwnSize(32, None, "AdamW")))
    assert re.search(r"32 \(current\) +x 1\n128 +x 2\n", told)


def test_the_own_size_needs_no_other_rate():
    assert "learning rate" not in report(replace(result_with(OwnSize(128, 0.1, "SGD")), rate=None))
    assert "learning rate" not in report(result_with(None))


def test_markdown_has_the_rate_too():
    blocks = markdown(RunRecord("find-batch-size", "ok", {}, {}, {}, result_with(OwnSize(32, 0.1, "SGD"))))
    assert any(block.startswith("| learning rate for | by the linear rule |") for block in blocks)
