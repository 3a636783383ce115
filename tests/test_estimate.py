"""What find-batch-size --dry-run makes of an estimate, and how near the estimate comes to real trials."""

from __future__ import annotations

import json
import sys

import pytest
import sizable
import torch
from small_workloads import Net
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lrscout.cli import main
from lrscout.engine.trials.estimate import estimate_step
from lrscout.engine.trials.requests import ShapeEstimate
from lrscout.engine.trials.source import Source
from lrscout.report.find_batch_size import headline, reasons
from lrscout.results import MemoryBudget, RunRecord, Target
from lrscout.runs.batch_size.estimate import estimated
from lrscout.search.batch_size import Search
from lrscout.settings import FindBatchSizeSettings

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


class Attention(nn.Module):
    """One head of attention over 512 tokens, whose scores would take 1 MiB a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(1, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        heads = self.widen(inputs)[:, None]  # (B, T, 1) -> (B, 1, T, 4)
        return nn.functional.scaled_dot_product_attention(heads, heads, heads).mean((1, 2))


def shapes_of(model_class, sample):
    def build(batch_size=8):
        data = TensorDataset(sample.expand(256, *sample.shape), torch.zeros(256, dtype=torch.long))
        return sizable.parts(DataLoader(data, batch_size), model_class())

    settings = FindBatchSizeSettings(device="cpu", optimizer="sgd")
    return estimate_step(Source(Target(None), "batch_size", 0, live=build), settings, None)


def test_scores_that_attention_does_not_keep_are_not_counted():
    assert shapes_of(Attention, torch.zeros(512, 1)).bytes_per_sample < 0.2 * MIB


def test_tied_weights_count_once():
    weights = sum(parameter.numel() * 4 for parameter in Net().parameters())
    assert shapes_of(Net, torch.zeros(6)).parameter_bytes == weights


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of processes are Linux's")
def test_the_estimate_is_near_the_peak_of_a_trial_with_what_the_target_holds(
    shared_server, monkeypatch, tmp_path, capfd
):
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)
    monkeypatch.chdir(tmp_path)

    def result(*arguments):
        target = f"{sizable.__file__}:build"
        data = ("-k", "samples=262144")  # of 64 MiB
        assert (
            main(["find-batch-size", target, *data, "--device", "cpu", "--budget", "1GiB", "--json", *arguments]) == 0
        )
        return json.loads(capfd.readouterr()[0])["result"]

    line = result("--dry-run")
    measured = result("--min", "256", "--max", "256")["trials"][0]["peak_bytes"]
    assert line["estimate"]["target_bytes"] > 64 * MIB
    estimated_peak = line["memory_model"]["base_bytes"] + 256 * line["memory_model"]["bytes_per_sample"]
    assert estimated_peak == pytest.approx(measured, rel=0.1)
