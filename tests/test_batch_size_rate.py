"""The learning rate for the recommended batch size: by a rule, or measured at that size with --find-lr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import learnable
import pytest
import torch
from small_workloads import digest, random_digest
from torch import nn

import lrscout
from lrscout.cli import main
from lrscout.engine.workload import make_workload
from lrscout.errors import UsageError, WorkloadError
from lrscout.records import from_json, to_json
from lrscout.report.blocks import TextTable
from lrscout.report.find_batch_size import blocks
from lrscout.report.terminal import PAGE
from lrscout.report.views import summary
from lrscout.results import (
    BatchSizeResult,
    CommandTarget,
    LrRecord,
    LrResult,
    MemoryBudget,
    OptimizerResult,
    OwnSize,
    RunRecord,
    ScaledRate,
    Suggestion,
    Target,
    Trial,
)
from lrscout.runs.batch_size.command import CommandTrials
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.rate import find_lr_settings, with_measured_rate
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.search.batch_size import Search, SearchEnd
from lrscout.search.recommendation import conclude, warnings_about
from lrscout.search.scaling import scaled_rate
from lrscout.settings import FindBatchSizeSettings, FindLrSettings, SessionSettings

LEARNABLE = str(Path(learnable.__file__))
PROGRAM = str(Path(__file__).parent / "programs" / "resizable.py")
OWN = OwnSize(32, 0.1, "SGD")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="trials have processes of their own on Linux")


def result_with(own: OwnSize | None, size: int = 128, **more) -> BatchSizeResult:
    """A search that recommends this size."""
    end = SearchEnd((Trial(size, "fits", 1 << 20, 100.0, 0.1, 6),), "max", 1.0)
    found = conclude(end, Search(), "fit", MemoryBudget(1 << 30, 0.05))
    rate = None if own is None else scaled_rate(own.lr, own.optimizer, own.batch_size, size)
    return replace(found, own=own, rate=rate, **more)


def record_of(result: BatchSizeResult) -> RunRecord[BatchSizeResult]:
    return RunRecord("find-batch-size", "ok", {}, {}, {}, result)


def report(result: BatchSizeResult) -> str:
    return summary(record_of(result), PAGE)


# By a rule


def test_the_report_has_one_rate_for_the_recommended_size_and_names_its_rule():
    told = report(result_with(OWN))
    assert re.search(r"learning rate for +by the linear rule\n.*\n32 \(current\) +1.0e-1\n128 +4.0e-1\n", told)
    assert "square-root" not in told
    assert "by the square-root rule" in report(result_with(OwnSize(32, 0.1, "AdamW")))


def test_a_rate_that_is_unknown_is_told_as_a_factor():
    told = report(result_with(OwnSize(32, None, "AdamW")))
    assert re.search(r"32 \(current\) +x 1\n128 +x 2\n", told)


def test_the_own_size_needs_no_other_rate():
    assert "learning rate" not in report(replace(result_with(OWN), rate=None))
    assert "learning rate" not in report(result_with(None))


def test_exports_have_the_rate_too():
    tables = [block for block in blocks(record_of(result_with(OWN))) if isinstance(block, TextTable)]
    assert any(tuple(table.head[:2]) == ("learning rate for", "by the linear rule") for table in tables)


def test_sizes_too_far_apart_for_a_rule_are_told_with_what_to_do():
    for size in (1024, 1):
        (warning,) = warnings_about(result_with(OWN, size))
        assert f"from size 32 to {size} is a factor of 32" in warning
        assert "beyond 16" in warning
        assert "--find-lr" in warning
    assert warnings_about(result_with(OWN, 512)) == ()
    assert "--find-lr" not in warnings_about(result_with(OWN, 1024), tried_find_lr=True)[0]


# What is made of a search


@dataclass
class FakeTrials:
    """Answers with this, or raises it."""

    answer: LrRecord | BaseException
    asked: list[int] = field(default_factory=list)

    def rate(self, batch_size):
        self.asked.append(batch_size)
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def suggestion(lr: float | None, reason: str = "the loss falls", **more) -> Suggestion:
    return Suggestion(lr, "scout", reason, use="decay", confidence="medium", doubts=("few steps",), **more)


def found(lr: float | None, status="ok", warnings=(), others=(), **more) -> LrRecord:
    result = LrResult(suggestion(lr, **more), {}, (), "completed", 150, 1.0, others=others)
    return RunRecord("find-lr", status, {}, {}, {}, result, warnings=warnings)


def measured(answer, result: BatchSizeResult) -> tuple[BatchSizeResult, tuple[str, ...]]:
    return with_measured_rate(result, FakeTrials(answer), BatchSizeObserver())


def test_a_measured_rate_takes_the_place_of_the_rule_with_its_confidence():
    result, warnings = measured(found(0.25, warnings=("a lot to say",)), result_with(OWN, 1024))
    assert (result.rate.lr, result.rate.factor, result.rate.rule) == (0.25, 2.5, "find-lr")
    assert result.rate.measured[0].doubts == ("few steps",)
    assert warnings == ("find-lr at size 1024: a lot to say",)
    assert warnings_about(result) == ()  # no rule, none too far
    told = report(result)
    assert re.search(r"learning rate for +by find-lr\n.*\n32 \(current\) +1.0e-1\n1024 +2.5e-1\n", told)
    assert (
        "The learning rate was measured at size 1024, for the peak of a decaying schedule, with medium confidence: few"
        " steps." in " ".join(told.split())
    )
    assert from_json(to_json(record_of(result))).result == result


def test_a_rate_is_measured_at_the_own_size_too_and_where_the_own_is_unknown():
    at_own, _ = measured(found(0.2), replace(result_with(OWN, 32), rate=None))
    assert re.search(r"32 \(current\) +1.0e-1\n32 +2.0e-1\n", report(at_own))
    for own in (None, OwnSize(32, None, "AdamW")):
        result, _ = measured(found(0.2), result_with(own))
        assert (result.rate.lr, result.rate.factor) == (0.2, None)
        assert re.search(r"by find-lr\n.*\n128 +2.0e-1\n", report(result))


def test_each_optimizer_of_a_program_has_its_rate():
    others = [OptimizerResult(n, "Adam", (), found(lr).result) for n, lr in ((2, 3e-4), (3, None))]
    result, _ = measured(found(0.2, others=tuple(others)), result_with(None))
    assert re.search(r"128 +2.0e-1\n128, optimizer 2 +3.0e-4\n128, optimizer 3 +none\n", report(result))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (WorkloadError("The process died.", hint="Lower --max."), "The process died. Lower --max."),
        (RuntimeError("can't allocate memory"), "RuntimeError: can't allocate memory"),
        (SystemExit(3), "SystemExit: 3"),
        (found(None, "inconclusive", reason="the loss neither falls nor diverges"), "the loss neither falls nor div"),
    ],
)
def test_a_search_that_fails_leaves_the_size_and_the_rule_and_says_why(answer, why):
    before = result_with(OWN)
    result, (warning,) = measured(answer, before)
    assert (result.batch_size, result.rate, result.interrupted) == (128, before.rate, False)
    assert warning.startswith(
        "The learning rate at size 128 could not be measured, so the rate of the linear rule is shown: "
    )
    assert why in warning
    _, (warning,) = measured(answer, result_with(None))
    assert warning.startswith("The learning rate at size 128 could not be measured: ")


@pytest.mark.parametrize("answer", [KeyboardInterrupt(), found(0.2, "interrupted")])
def test_ctrl_c_leaves_the_size_and_the_rule(answer):
    before = result_with(OWN)
    result, (warning,) = measured(answer, before)
    assert (result.batch_size, result.rate, result.interrupted) == (128, before.rate, True)
    assert "interrupted, so the rate of the linear rule is shown" in warning


def test_without_a_size_or_after_ctrl_c_nothing_is_searched():
    for result in (result_with(OWN, stop_reason="interrupted"), replace(result_with(OWN), batch_size=None)):
        trials = FakeTrials(found(0.2))
        assert with_measured_rate(result, trials, BatchSizeObserver()) == (result, ())
        assert trials.asked == []


def test_the_training_step_is_that_of_the_search_and_all_else_the_default():
    given = {"seed": 3, "device": "cpu", "precision": "bf16", "optimizer": "sgd", "accumulate": 2, "clip_norm": 1.0}
    settings = find_lr_settings(FindBatchSizeSettings(**given, min=2))
    assert {name: getattr(settings, name) for name in given} == given
    others = {each.name for each in fields(FindLrSettings)} - {each.name for each in fields(SessionSettings)}
    assert all(getattr(settings, name) == getattr(FindLrSettings(), name) for name in others)


def test_a_dry_run_has_nothing_to_measure():
    with pytest.raises(UsageError, match="--dry-run runs no step, so --find-lr has nothing to measure"):
        FindBatchSizeSettings(dry_run=True, budget="1GiB", find_lr=True)


# The search itself

SMALL = {"min": 16, "max": 16, "objective": "memory", "device": "cpu", "find_lr": True}


@on_linux
@pytest.mark.parametrize("build", [learnable.build, learnable.with_loader])
def test_the_rate_is_what_find_lr_suggests_at_that_size(build, shared_server, monkeypatch, one_thread):
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    observed = lrscout.find_batch_size(build, **SMALL)
    alone = lrscout.find_lr(learnable.build, kwargs={"batch_size": 16}, device="cpu")
    rate = observed.result.rate
    assert (observed.batch_size, rate.rule, observed.warnings) == (16, "find-lr", ())
    assert rate.lr == pytest.approx(alone.suggestion.lr, rel=1e-3)
    assert rate.factor == pytest.approx(alone.suggestion.lr / 0.1, rel=1e-3)
    assert rate.measured[0].confidence == alone.suggestion.confidence


def test_live_objects_come_back_as_they_were():
    made = learnable.parts(4)
    model, loader, optimizer = made["model"], made["train_loader"], made["optimizer"]
    before = digest(model, optimizer) + random_digest()
    observed = lrscout.find_batch_size(model, loader, nn.CrossEntropyLoss(), optimizer, **SMALL)
    assert isinstance(observed.result.rate, ScaledRate)
    assert observed.result.rate.rule == "find-lr"
    assert digest(model, optimizer) + random_digest() == before
    assert loader.batch_size == 4


def test_a_failure_of_the_users_code_costs_only_the_rate():
    observed = lrscout.find_batch_size(learnable.failing, isolate="never", **SMALL)
    assert (observed.status, observed.batch_size, observed.result.rate.rule) == ("ok", 16, "linear")
    assert "the user's own mistake after 100 steps" in observed.warnings[0]


def test_live_objects_come_back_after_ctrl_c_and_the_size_stays():
    torch.manual_seed(0)
    made = learnable.parts(4)
    steps = 0

    def loss(output, target):
        nonlocal steps
        steps += 1
        if steps == 100:
            raise KeyboardInterrupt
        return nn.functional.cross_entropy(output, target)

    before = digest(made["model"], made["optimizer"])
    told = []

    class Listening(BatchSizeObserver):
        def measuring(self, what):
            told.append(what)

    live = make_workload({**made, "loss_fn": loss})
    record = search_batch_size(FindBatchSizeSettings(**SMALL), Target(None), Listening(), found=live)
    assert (record.status, record.result.batch_size, record.result.rate.rule) == ("interrupted", 16, "linear")
    assert told == ["the learning rate at size 16"]
    assert digest(made["model"], made["optimizer"]) == before


@on_linux
def test_a_command_is_searched_in_with_the_size_filled_in(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    waited = []
    target = CommandTarget((sys.executable, PROGRAM, "--batch-size", "{batch_size}"), str(Path(PROGRAM).parent))
    settings = FindBatchSizeSettings()
    record = CommandTrials(target, settings, None, lambda: waited.append(1)).rate(16)
    assert 1e-3 < record.result.suggestion.lr < 10
    assert record.target["command"][-1] == "16"
    assert waited


@on_linux
def test_the_process_of_the_search_itself_imports_no_torch(tmp_path):
    code = (
        "import sys; from lrscout.cli import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules, code, file=sys.stderr)"
    )
    arguments = [f"{LEARNABLE}:build", "--device", "cpu", "--min", "16", "--max", "16", "--objective", "memory"]
    done = subprocess.run(
        [sys.executable, "-c", code, "find-batch-size", *arguments, "--find-lr", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.stderr.endswith("False 0\n"), done.stderr
    assert json.loads(done.stdout)["result"]["rate"]["rule"] == "find-lr"


def test_show_has_the_measured_rate(tmp_path, capfd):
    result, _ = measured(found(0.25), result_with(OWN))
    (tmp_path / "run.json").write_text(to_json(record_of(result)))
    assert main(["show", str(tmp_path / "run.json")]) == 0
    assert "by find-lr" in capfd.readouterr()[0]
