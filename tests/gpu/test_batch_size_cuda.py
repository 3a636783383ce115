"""On CUDA: a budget by fraction holds, an out-of-memory leaves the device usable, and one process runs all trials."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parent.parent))  # the helpers of the other tests

import sizable

import lrscout
from lrscout.results import Target
from lrscout.runs.batch_size.trials import open_trials
from lrscout.settings import FindBatchSizeSettings

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

MIB = 1 << 20
TARGET = Target(f"{sizable.__file__}:build")


def test_a_search_in_children_keeps_to_its_budget() -> None:
    samples = {"samples": 100_000}  # more than any budget of 1 GiB holds
    found = lrscout.find_batch_size(sizable.build, kwargs=samples, budget="1GiB", device="cuda")
    result = found.result
    assert found.record.environment["device"].startswith("cuda")
    assert result.stop_reason == "out_of_memory"
    assert len(result.trials) <= 6
    trial = result.trial_of(result.largest_fitting)
    assert trial is not None
    assert result.limit_bytes is not None
    assert 0 < (trial.peak_bytes or 0) <= result.limit_bytes


def test_one_child_runs_all_trials_also_after_an_out_of_memory() -> None:
    settings = FindBatchSizeSettings(device="cuda")
    with closing(open_trials(settings, TARGET, None, lambda: None)) as trials:
        trials.inspect()
        outcomes = [trials.run(size, 300 * MIB, None).trial.outcome for size in (16, 4096, 16)]
        assert outcomes == ["fits", "out_of_memory", "fits"]


def test_live_objects_stay_where_they_are() -> None:
    model = sizable.Wide().cuda()
    before = [p.detach().clone() for p in model.parameters()]
    data = TensorDataset(torch.zeros(64, 64), torch.zeros(64, dtype=torch.long))
    found = lrscout.find_batch_size(model, DataLoader(data, 4), nn.CrossEntropyLoss(), max=64, budget="2GiB")
    assert found.largest_fitting == 64
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))
    assert all(p.is_cuda for p in model.parameters())
