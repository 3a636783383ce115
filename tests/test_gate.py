"""`--against FILE`: a search as a regression test."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

sys.path.append(str(Path(__file__).parent / "faults"))
from small_records import records

from lrscout.cli import main
from lrscout.formatting import format_lr
from lrscout.records import from_json, save

RECORDS = records()
TARGET = """
import torch
from torch import nn

X = torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
BATCHES = list(zip(X.split(32), X.sum(1, keepdim=True).split(32)))


def build(batch_size=32):
    batches = list(zip(X.split(batch_size), X.sum(1, keepdim=True).split(batch_size)))
    return {"model": nn.Linear(8, 1), "train_loader": batches, "loss_fn": nn.MSELoss(), "val_loader": BATCHES[:2]}
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a target and a record of find-lr on it."""
    folder = tmp_path_factory.mktemp("gate")
    (folder / "mine.py").write_text(TARGET)
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        assert main(["find-lr", "mine.py:build", "--steps", "60", "-q", "-o", "base.json"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _folder(base, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
    monkeypatch.chdir(base)


def lrscout(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([*arguments])
    return code, out.getvalue(), err.getvalue()


def moved(size: float) -> None:
    """A baseline whose rate is so many times that of the record, in moved.json."""
    record = from_json(Path("base.json").read_text())
    suggestion = dataclasses.replace(record.result.suggestion, lr=record.result.suggestion.lr * size)
    save(
        dataclasses.replace(record, result=dataclasses.replace(record.result, suggestion=suggestion)),
        Path("moved.json"),
    )


def find_lr(*arguments: str) -> tuple[int, str, str]:
    return lrscout("find-lr", "mine.py:build", "--steps", "60", "-q", *arguments)


def test_the_same_search_passes():
    assert find_lr("--against", "base.json", "--tolerance", "lr=same")[0] == 0


def test_a_rate_beyond_the_limit_ends_with_5_and_names_both_values_and_the_limit():
    moved(10.0)
    code, out, err = find_lr("--against", "moved.json")
    assert code == 5
    lr = float(out)
    told = f"lr within 2x of moved.json (is {format_lr(lr)}, was {format_lr(lr * 10)}, x0.1)"
    assert f"Warning: Check failed: {told}." in err


@pytest.mark.parametrize("tolerance", ["lr=11x", "lr=any", "lr=95%", "lr=100"])
def test_a_wider_tolerance_passes(tolerance):
    moved(10.0)
    assert find_lr("--against", "moved.json", "--tolerance", tolerance)[0] == 0


def test_the_record_may_be_replaced_by_the_run_that_is_compared_with_it():
    moved(10.0)
    assert find_lr("--against", "moved.json", "-o", "moved.json")[0] == 5
    assert find_lr("--against", "moved.json", "-o", "moved.json")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tolerance", "lr=2x"], "--tolerance needs --against"),
        (["--against", "nothing.json"], "Cannot read nothing.json"),
        (["--against", "run.json"], "is a record of run"),
        (["--against", "failed.json"], "has no lr to compare with"),
        (["--against", "base.json", "--tolerance", "x"], "must be NAME=LIMIT"),
    ],
)
def test_what_cannot_be_compared_is_told_before_anything_runs(arguments, message):
    save(RECORDS["run"], Path("run.json"))
    save(dataclasses.replace(RECORDS["find-lr"], result=None, status="failed"), Path("failed.json"))
    code, out, err = find_lr(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_an_inconclusive_search_keeps_its_exit_code():
    code, _, err = find_lr("--against", "base.json", "--max-lr", "1e-8", "--min-lr", "1e-9", "--max-steps", "60")
    assert code == 4
    assert "(is none, was" in err


@pytest.mark.slow
def test_a_batch_size_is_compared():
    common = [
        "find-batch-size",
        "mine.py:build",
        "--dry-run",
        "--budget",
        "1GiB",
        "--max",
        "64",
        "--device",
        "cpu",
        "-q",
    ]
    assert lrscout(*common, "-o", "size.json")[0] == 0
    assert lrscout(*common, "--against", "size.json", "--tolerance", "batch_size=same")[0] == 0
    code, _, err = lrscout(*common, "--max", "16", "--against", "size.json")
    assert code == 5
    assert "batch_size within 2x of size.json (is 16, was 64, x0.25)" in err


def test_a_comparison_is_compared_beside_its_own_baseline():
    common = [
        "compare-schedulers",
        "mine.py:build",
        "--steps",
        "20",
        "--seeds",
        "3",
        "--lr-mode",
        "shared",
        "--lr",
        "0.01",
    ]
    common += ["-s", "cosine", "-s", "constant", "--baseline", "constant", "-q"]
    assert lrscout(*common, "-o", "first.json")[0] == 0
    assert lrscout(*common, "--against", "first.json", "--tolerance", "loss=0.1%")[0] == 0
    document = json.loads(Path("first.json").read_text())
    document["result"]["ranking"][0]["final"]["mean"] /= 2
    Path("better.json").write_text(json.dumps(document))
    code, _, err = lrscout(*common, "--against", "better.json", "--junit-xml", "checks.xml")
    assert code == 5
    assert "loss within 10% of better.json" in err
    assert ", x2)" in err
    assert "better.json" in ElementTree.parse("checks.xml").find(".//testcase[failure]").get("name", "")
