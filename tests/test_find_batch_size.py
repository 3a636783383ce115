"""find-batch-size as a user, a script and a Python program meet it."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import observed
import pytest
import sizable
import torch
from small_workloads import digest, make_net, random_digest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lrscout
from lrscout.cli import main
from lrscout.errors import LrscoutError, TargetError, UsageError
from lrscout.records import from_json
from lrscout.results import Target
from lrscout.runs.batch_size.observer import BatchSizeObserver
from lrscout.runs.batch_size.search import search_batch_size
from lrscout.runs.batch_size.trials import open_trials
from lrscout.settings import FindBatchSizeSettings

SIZABLE = str(Path(sizable.__file__))
OBSERVED = str(Path(observed.__file__))
OWN_CODE = str(Path(lrscout.__file__).parent)  # the checkout itself may be called lrscout too

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are Linux's")


@pytest.fixture
def lends_server(shared_server, monkeypatch):
    """Searches fork from the server that is there."""
    monkeypatch.setattr("lrscout.runs.batch_size.trials.make_starter", lambda *_, **__: shared_server)


@pytest.fixture
def lrscout_command(lends_server, tmp_path, monkeypatch, capfd):
    """Run find-batch-size on a target of sizable.py, or of another file: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LRSCOUT_TIME_BUDGET", "0.5s")

    def run(attribute: str, *arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        target = attribute if ":" in attribute else f"{SIZABLE}:{attribute}"
        code = main(["find-batch-size", target, "--device", "cpu", *arguments])
        return (code, *capfd.readouterr())

    return run


def document(lrscout_command, *arguments):
    code, out, _ = lrscout_command(*arguments, "--json")
    return code, json.loads(out)


def test_it_finds_the_largest_size_within_the_budget(lrscout_command, tmp_path):
    code, out, err = lrscout_command("build", "--budget", "100MiB", "-o", "run.json", "--export-csv", "trials.csv")
    assert code == 0
    assert "\n\nRecommended batch size: " in out
    assert "largest that fits is " in out
    assert "MiB of 100 MiB" in out
    assert re.search(r"trials: size \d+ does not fit", out)
    assert "fitted line" in out
    assert "find-batch-size  size 16, trial 2 of about 6  fits" in err
    result = from_json((tmp_path / "run.json").read_text()).result
    assert len(result.trials) <= 9  # five where sizes are far above the noise of a few MiB (make bench-batch)
    assert 300 < result.largest_fitting < 600
    assert result.trial_of(result.largest_fitting).peak_bytes <= result.limit_bytes
    assert result.memory_model.fit_error < 0.1
    rows = list(csv.DictReader((tmp_path / "trials.csv").open()))
    sizes = [int(row["batch_size"]) for row in rows]
    assert sizes[: len(result.trials)] == [t.batch_size for t in result.trials]
    assert sorted(sizes) == sorted({*sizes, *(t.batch_size for t in result.timings)})
    assert {row["batch_size"] for row in rows if row["step_seconds"]} == {str(t.batch_size) for t in result.timings}


def test_the_json_document_has_the_keys_that_scripts_read(lrscout_command):
    code, found = document(lrscout_command, "build", "--budget", "100MiB", "--max", "32")
    result = found["result"]
    assert (code, found["command"], found["status"]) == (0, "find-batch-size", "ok")
    assert result["stop_reason"] == "max"
    assert (result["mode"], result["largest_fitting"]) == ("fit", 32)
    assert set(result["fastest"]) == {"batch_size", "samples_per_second"}
    assert set(result["memory_model"]) == {"base_bytes", "bytes_per_sample", "fit_error"}
    assert (result["budget_bytes"], result["margin"]) == (100 << 20, 0.05)
    keys = {"batch_size", "outcome", "peak_bytes", "samples_per_second", "seconds", "steps"}
    assert all(keys <= set(trial) for trial in result["trials"])
    assert all({"batch_size", "samples", "seconds", "low", "high"} <= set(timing) for timing in result["timings"])
    assert result["batch_size"] in [t["batch_size"] for t in result["timings"]]


@pytest.mark.parametrize("samples", [100, 1])
@pytest.mark.parametrize("budget", [("--budget", "500MiB"), ()])
def test_the_data_sets_length_is_the_end(lrscout_command, samples, budget):
    smallest = 1 if budget or samples == 1 else 64  # two sizes are too few to show that throughput no longer rises
    code, found = document(lrscout_command, "build", "-k", f"samples={samples}", "--min", str(smallest), *budget)
    assert code == 0
    assert (found["result"]["largest_fitting"], found["result"]["stop_reason"]) == (samples, "dataset")
    assert found["result"]["dataset_size"] == samples


def test_an_empty_data_set_is_an_error(lrscout_command):
    code, out, err = lrscout_command("build", "-k", "samples=0")
    assert (code, out) == (1, "")
    assert "The dataset is empty" in err
    assert "Traceback" not in err


def test_nothing_fits_and_it_says_how_far_it_is_over(lrscout_command):
    code, out, _ = lrscout_command("build", "--budget", "3MiB", "--min", "8")
    assert code == 4
    assert "No batch size recommended" in out
    assert "size 8 fits: it needs" in out
    assert "to plot" not in out
    assert "over the 2.85 MiB that the budget" in " ".join(out.split())


def test_without_a_budget_it_goes_on_to_the_max_while_throughput_rises(lrscout_command):
    code, found = document(lrscout_command, f"{OBSERVED}:paced", "-k", "seconds=0.03", "--max", "16", "--no-statistics")
    result = found["result"]
    assert (code, result["mode"], result["stop_reason"]) == (0, "power", "max")
    assert [trial["batch_size"] for trial in result["trials"]] == [1, 2, 4, 8, 16]
    assert result["batch_size"] == result["fastest"]["batch_size"] == result["largest_fitting"] == 16


def test_without_a_budget_it_ends_where_throughput_stops_rising(lrscout_command):
    pace = ("-k", "seconds_a_sample=0.005", "--min", "8", "--max", "512")
    code, found = document(lrscout_command, f"{OBSERVED}:paced", *pace)
    result = found["result"]
    assert (code, result["mode"], result["stop_reason"]) == (0, "power", "throughput")
    assert [trial["batch_size"] for trial in result["trials"]][:3] == [8, 16, 32]
    assert result["largest_fitting"] < 512
    assert result["fastest"]["samples_per_second"] <= 200


@pytest.mark.parametrize("mode", ["power", pytest.param("binsearch", marks=pytest.mark.slow)])
def test_the_other_modes_stay_within_the_limit(lrscout_command, mode):
    code, found = document(lrscout_command, "build", "--budget", "60MiB", "--mode", mode, "--min", "32")
    result, largest = found["result"], found["result"]["largest_fitting"]
    peaks = {t["batch_size"]: t["peak_bytes"] for t in result["trials"] if t["outcome"] == "fits"}
    over = sorted(t["batch_size"] for t in result["trials"] if t["outcome"] == "out_of_memory")
    assert (code, result["mode"], result["stop_reason"]) == (0, mode, "out_of_memory")
    assert len(peaks) + len(over) == len(result["trials"])
    assert max(peaks.values()) <= 0.95 * (60 << 20)
    assert largest == max(peaks) < over[0]
    if mode == "power":
        assert [t["batch_size"] for t in result["trials"]] == [32 * 2**n for n in range(len(result["trials"]))]
    else:
        assert over[0] == largest + 1  # to the sample
        assert len(over) > 1


def test_the_users_mistake_stops_the_search_with_its_traceback_and_keeps_the_trials(lrscout_command, tmp_path):
    code, out, err = lrscout_command(
        "raising_at", "--mode", "power", "--min", "37", "--budget", "500MiB", "-k", "bad=74", "-o", "run.json"
    )
    record = from_json((tmp_path / "run.json").read_text())
    assert (code, out) == (1, "")
    assert "IndexError: the user's own mistake at 74" in err
    assert 'sizable.py", line' in err
    assert "the trial of size 74" in err
    assert [(t.batch_size, t.outcome) for t in record.result.trials] == [(37, "fits"), (74, "failed")]
    assert record.status == "failed"


def test_a_model_that_cannot_train_on_one_sample_is_searched_from_two(lrscout_command):
    code, found = document(lrscout_command, "normed", "--max", "16", "--mode", "power")
    assert code == 0
    assert [each["batch_size"] for each in found["result"]["trials"]] == [2, 4, 8, 16]
    assert min(each["batch_size"] for each in found["result"]["timings"]) == 2
    (told,) = [each for each in found["warnings"] if "Size 1" in each]
    assert told.startswith("Size 1 was left out, since its trial failed: ValueError: Expected more than 1 value")


def test_a_mistake_at_any_size_ends_the_search_after_two():
    tried = []

    def step(model, batch):
        tried.append(len(batch[0]))
        raise IndexError("the user's own mistake")

    target = {"model": make_net(), "train_loader": DataLoader(TensorDataset(torch.zeros(64, 6)), 8), "step": step}
    with pytest.raises(IndexError, match="the user's own mistake") as caught:
        lrscout.find_batch_size(target, device="cpu")
    assert tried == [1, 2]
    assert caught.value.__notes__ == ["lrscout: This was the trial of size 2."]


def test_a_leak_is_no_answer(lrscout_command):
    code, out, _ = lrscout_command("acting", "-k", "act=leak", "-k", "at=4", "--budget", "200MiB")
    assert code == 4
    assert "step at size 4 adds" in out


def test_a_hang_ends_the_search_with_what_it_had(lrscout_command):
    code, found = document(lrscout_command, "acting", "--budget", "200MiB", "--timeout", "6")
    assert code == 0
    assert (found["result"]["stop_reason"], found["result"]["largest_fitting"]) == ("timeout", 4)


def test_quiet_prints_the_size_alone(lrscout_command):
    code, out, err = lrscout_command(
        f"{OBSERVED}:paced", "-k", "seconds=0.03", "--max", "4", "--no-statistics", "--quiet"
    )
    assert (code, out, err) == (0, "4\n", "")


def test_friendly_sizes_evaluation_and_splits(lrscout_command):
    _, found = document(
        lrscout_command,
        *("build", "--budget", "40MiB", "--prefer", "multiple-of-24", "--eval", "--effective-batch-size", "768"),
    )
    result = found["result"]
    assert result["largest_fitting"] % 24 == 0
    assert result["batch_size"] % 24 == 0
    assert result["evaluation"]["largest_fitting"] > result["largest_fitting"]
    assert [s["processes"] for s in result["splits"]] == [1, 2, 4, 8]
    assert all(s["batch_size"] * s["accumulate"] * s["processes"] == 768 for s in result["splits"])
    assert all(s["batch_size"] <= result["largest_fitting"] for s in result["splits"])


def test_an_estimate_recommends_nothing(lrscout_command):
    code, out, _ = lrscout_command("build", "--budget", "100MiB", "--dry-run")
    assert code == 0
    assert re.search(r"\n\nEstimated batch size: about \d+\n", out)
    assert "optimizer state" in out
    _, found = document(lrscout_command, "build", "--budget", "100MiB", "--dry-run")
    result = found["result"]
    assert (result["batch_size"], result["largest_fitting"], result["trials"]) == (None, None, [])
    assert 300 < result["estimate"]["batch_size"] < 800
    assert result["estimate"]["parameter_bytes"] == sum(p.numel() for p in sizable.Wide().parameters()) * 4


def test_quiet_prints_the_estimated_size_alone_and_an_error_where_none_fits(lrscout_command):
    estimate = ("build", "-k", "samples=70", "--dry-run", "--quiet")
    assert lrscout_command(*estimate, "--budget", "1GiB") == (0, "70\n", "")
    code, out, err = lrscout_command(*estimate, "--budget", "1MiB")
    assert (code, out) == (4, "")
    assert "no batch size fits: one sample needs about " in err
    assert "and the budget allows 973 KiB" in err


def test_an_estimate_that_cannot_be_made_is_told(lrscout_command):
    code, out, err = lrscout_command("looks_at_values", "--budget", "100MiB", "--dry-run")
    assert (code, out) == (1, "")
    assert "cannot be estimated from shapes alone" in err


def test_a_cached_answer_is_taken_for_the_same_source_and_settings_only(lrscout_command):
    arguments = ("build", "--max", "8", "--cache", "--no-statistics")
    first, again = document(lrscout_command, *arguments)[1], document(lrscout_command, *arguments)[1]
    other = document(lrscout_command, *arguments, "-k", "samples=64")[1]
    assert again["result"] == first["result"]
    assert "earlier run" in again["warnings"][-1]
    assert first["warnings"] == other["warnings"] == []


def test_an_answer_is_not_cached_beyond_a_change_of_the_target(lrscout_command, tmp_path):
    """Also where the model and the data set are of classes that are torch's own."""
    source = (
        "import torch\nfrom torch import nn\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "def build(batch_size):\n    data = TensorDataset(torch.zeros(64, 4), torch.zeros(64).long())\n"
        "    return nn.Sequential(nn.Linear(4, 8)), DataLoader(data, batch_size), nn.CrossEntropyLoss()\n"
    )
    found = []
    for text in (source, source, source.replace("8", "16")):
        file = tmp_path / "sequential.py"
        file.write_text(text)
        assert main(["find-batch-size", f"{file}:build", "--max", "2", "--cache", "-o", "run.json"]) == 0
        found.append(from_json((tmp_path / "run.json").read_text()).warnings)
    assert [any("earlier run" in warning for warning in each) for each in found] == [False, True, False]


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("build", "--budget", "much"), 2, "--budget much"),
        (("build", "--min", "5000"), 2, "4096 samples"),
        (("small_evaluation", "--min", "4", "--eval"), 2, "2 samples of the evaluation dataset"),
        (("build", "--batch-arg", "sampels"), 3, "Did you mean 'samples'?"),
        (("batch_sampler",), 2, "--batch-arg NAME"),
        (("buidl",), 3, "Did you mean 'build'?"),
        (("raises_in_build",), 1, "ZeroDivisionError: in build"),
    ],
)
def test_what_cannot_be_done_is_told_in_few_words(lrscout_command, arguments, code, told):
    got, out, err = lrscout_command(*arguments)
    assert (got, out) == (code, "")
    assert told in err
    assert OWN_CODE not in err


@pytest.mark.parametrize(
    "given",
    [
        ("--budget", "10"),
        ("--budget", "10", "--dry-run"),
        ("--recipe", "number.yaml"),
        ("--recipe", "text.yaml", "--dry-run"),
        ("variable",),
    ],
    ids=" ".join,
)
def test_a_budget_without_a_unit_is_an_error_wherever_it_is_given(given, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    Path("number.yaml").write_text("version: 1\nfind_batch_size: {budget: 10}\n")
    Path("text.yaml").write_text("version: 1\nfind_batch_size: {budget: '10'}\n")
    if given == ("variable",):
        monkeypatch.setenv("LRSCOUT_BUDGET", "10")
        given = ()
    assert main(["find-batch-size", f"{SIZABLE}:build", *given]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "unit" in err
    assert "such as 11GiB, not 10" in err or "For example --budget 11GiB" in err


def test_python_is_told_too_that_a_budget_needs_a_unit():
    for budget in ("10", 10, 2**30):
        with pytest.raises(UsageError, match="unit"):
            lrscout.find_batch_size(sizable.build, budget=budget)


def test_show_and_markdown_need_no_new_run(lrscout_command, capfd):
    _, first, _ = lrscout_command("build", "--max", "32", "--budget", "1GiB", "--export-markdown", "run.md")
    assert main(["show"]) == 0
    assert capfd.readouterr()[0] == first
    text = Path("run.md").read_text()
    assert "| batch size | outcome |" in text
    assert "```text" in text


def test_a_recipe_sets_it_up(lrscout_command, tmp_path):
    (tmp_path / "run.yaml").write_text("version: 1\nfind_batch_size: {budget: 1GiB, max: 8, mode: power}\n")
    _, found = document(lrscout_command, "build", "--recipe", "run.yaml")
    assert [t["batch_size"] for t in found["result"]["trials"]] == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "budgets", [(80,), pytest.param(range(60, 180, 10), marks=pytest.mark.slow)], ids=["one budget", "a dozen budgets"]
)
def test_the_largest_size_trains_and_five_percent_more_does_not(lends_server, budgets):
    """The promise, by twenty steps: within the budget, whose margin is for what more steps take."""
    target = Target(f"{SIZABLE}:build")
    with closing(
        open_trials(FindBatchSizeSettings(device="cpu", trial_steps=20), target, None, lambda: None)
    ) as checked:
        for budget in budgets:
            settings = FindBatchSizeSettings(device="cpu", budget=f"{budget}MiB", objective="memory")
            found = search_batch_size(settings, target).result
            largest, limit = found.largest_fitting, found.limit_bytes
            assert checked.run(largest, budget * 2**20, None).trial.outcome == "fits", budget
            assert checked.run(int(1.05 * largest) + 1, limit, None).trial.outcome == "out_of_memory", budget


READS_ITS_ARGUMENTS = """
import argparse, torch
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=4)
parser.parse_args()
def build(batch_size):
    width = parser.parse_args().width
    data = torch.utils.data.TensorDataset(torch.zeros(8, width), torch.zeros(8).long())
    loader = torch.utils.data.DataLoader(data, batch_size)
    return torch.nn.Linear(width, 2), loader, torch.nn.CrossEntropyLoss()
"""

TRAINS = """
import torch
model = torch.nn.Linear(1, 1)
torch.optim.SGD(model.parameters(), 0.1).step()
def build(batch_size): return model
"""


def test_a_target_reads_no_arguments_of_lrscouts_in_another_process(lrscout_command, tmp_path):
    file = tmp_path / "reads_arguments.py"
    file.write_text(READS_ITS_ARGUMENTS)
    code, found = document(lrscout_command, f"{file}:build", "--max", "8", "--min", "4")
    assert (code, found["result"]["largest_fitting"]) == (0, 8)


def test_an_import_that_trains_in_another_process_is_stopped(lrscout_command, tmp_path):
    file = tmp_path / "trains.py"
    file.write_text(TRAINS)
    code, out, err = lrscout_command(f"{file}:build")
    assert (code, out) == (3, "")
    assert "trains a model: line 4 of trains.py takes a step of SGD" in err
    assert f"find-lr -- python {file}" in err.replace("\n", "")


def test_a_live_function_reads_the_arguments_of_its_own_program(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["search.py", "--mine"])
    seen = []

    def build(batch_size):
        seen.append(sys.argv)
        return sizable.build(batch_size)

    lrscout.find_batch_size(build, max=2, device="cpu", isolate="never", time_budget="0.5s")
    assert set(map(tuple, seen)) == {("search.py", "--mine")}


def builders(file):
    """The processes that built observed.noted, in order."""
    return [int(line.split()[0]) for line in file.read_text().splitlines()]


def test_python_tries_a_function_by_its_name_in_processes_of_its_own(lends_server, tmp_path):
    given = {"file": str(tmp_path / "built")}
    found = lrscout.find_batch_size(
        observed.noted, kwargs=given, budget="100MiB", max=32, device="cpu", objective="memory"
    )
    assert found.largest_fitting == 32
    assert found.record.target["path"].endswith("observed:noted")
    assert "peak" in found.plot()
    assert "samples/s" in found.plot()
    assert json.loads(found.to_json())["result"]["batch_size"] == found.batch_size
    processes = builders(tmp_path / "built")
    assert len(set(processes) - {os.getpid()}) == len(processes) == 1 + len(found.trials)  # one looks at it first


def test_a_cpu_with_a_number_is_isolated_measured_and_stopped_as_the_cpu(lrscout_command, tmp_path):
    file = tmp_path / "built"
    code, found = document(
        lrscout_command,
        *(f"{OBSERVED}:noted", "--device", "cpu:0", "-k", f"file={file}", "--max", "8", "--min", "4"),
        *("--objective", "memory"),
    )
    result = found["result"]
    assert (code, found["environment"]["device"]) == (0, "cpu")
    assert [trial["batch_size"] for trial in result["trials"]] == [4, 8]
    assert all(trial["peak_bytes"] > 0 for trial in result["trials"])
    assert result["mode"] == "power"  # memory is not what limits
    processes = builders(file)
    assert len(set(processes) - {os.getpid()}) == len(processes) == 3  # a process for the look, and one for each size


def live():
    net = make_net()
    inputs = torch.randn(40, 6)
    loader = DataLoader(TensorDataset(inputs, (inputs.sum(1) > 0).long()), 4, shuffle=True)
    return net, loader, torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)


def test_live_objects_come_back_as_they_were():
    net, loader, optimizer = live()
    before = digest(net, optimizer) + random_digest()
    found = lrscout.find_batch_size(net, loader, nn.CrossEntropyLoss(), optimizer, min=32, mode="power", device="cpu")
    assert [(t.batch_size, t.outcome) for t in found.trials] == [(32, "fits"), (40, "fits")]
    assert (found.largest_fitting, found.stop_reason) == (40, "dataset")
    assert digest(net, optimizer) + random_digest() == before
    assert loader.batch_size == 4


def test_live_objects_come_back_after_an_exception():
    net, loader, optimizer = live()
    before = digest(net, optimizer) + random_digest()

    def loss(output, target):
        if len(target) == 8:
            raise IndexError("the user's own")
        return nn.functional.cross_entropy(output, target)

    with pytest.raises(IndexError, match="the user's own") as caught:
        lrscout.find_batch_size(net, loader, loss, optimizer, min=2, mode="power", device="cpu")
    assert "size 8" in caught.value.__notes__[0]
    assert digest(net, optimizer) + random_digest() == before


def test_an_estimate_leaves_live_objects_as_they_are():
    net, loader, optimizer = live()
    net.eval()
    before, weights = digest(net, optimizer) + random_digest(), list(net.parameters())
    found = lrscout.find_batch_size(
        net, loader, nn.CrossEntropyLoss(), optimizer, budget="1GiB", device="cpu", dry_run=True
    )
    assert found.result.answer == len(loader.dataset)
    assert digest(net, optimizer) + random_digest() == before
    assert all(after is weight for after, weight in zip(net.parameters(), weights))
    assert not net.training


def test_live_objects_have_a_budget_too():
    model = sizable.Wide()
    given = model, DataLoader(sizable.data(), 8), nn.CrossEntropyLoss()
    found = lrscout.find_batch_size(*given, budget="100MiB", margin="0%", device="cpu", objective="memory")
    assert 100 < found.largest_fitting < 900
    assert found.stop_reason == "out_of_memory"


def test_live_objects_cannot_be_isolated():
    net, loader, optimizer = live()
    with pytest.raises(UsageError, match="live objects"):
        lrscout.find_batch_size(net, loader, nn.CrossEntropyLoss(), optimizer, isolate="always")
    with pytest.raises(TargetError, match="train_loader"):
        lrscout.find_batch_size(sizable.build, loader)


def test_a_call_while_a_trial_imports_the_target_is_refused(monkeypatch):
    monkeypatch.setenv("LRSCOUT_IN_WORKER", "1")
    with pytest.raises(LrscoutError, match="started another"):
        lrscout.find_batch_size(sizable.build)


def test_the_command_itself_does_not_import_torch_and_leaves_no_process(tmp_path):
    code = (
        "import sys; from lrscout.cli import main; code = main(sys.argv[1:]);"
        "print('torch' in sys.modules, code, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "find-batch-size", f"{OBSERVED}:noted", "--device", "cpu", "--max", "8"]
    mark = {"STARTED_BY": str(tmp_path)}  # in the environment of all that it starts
    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, cwd=tmp_path, env={**os.environ, **mark}
    )
    left = [process for process in Path("/proc").glob("[0-9]*") if started_by(tmp_path, process)]
    assert done.stderr.endswith("False 0\n"), done.stderr
    assert len(json.loads(done.stdout)["result"]["trials"]) < len(builders(tmp_path / "built"))
    assert left == []


def started_by(folder, process):
    try:
        return f"STARTED_BY={folder}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # it has ended, or is another user's
        return False


def test_ctrl_c_in_the_search_for_evaluation_keeps_the_recommendation_for_training(lends_server):
    class Impatient(BatchSizeObserver):
        tried_sizes = 0

        def trying(self, batch_size, number, about):
            if self.tried_sizes:
                raise KeyboardInterrupt

        def tried(self, trial, so_far):
            self.tried_sizes += 1

    settings = FindBatchSizeSettings(device="cpu", budget="1GiB", min=4, max=4, eval=True, objective="memory")
    record = search_batch_size(settings, Target(f"{SIZABLE}:build"), Impatient())
    assert (record.status, record.result.batch_size, record.result.stop_reason) == ("interrupted", 4, "max")
    evaluation = record.result.evaluation
    assert (evaluation.batch_size, evaluation.stop_reason, evaluation.trials) == (None, "interrupted", ())


def test_ctrl_c_shows_what_was_tried_and_ends_every_process(tmp_path):
    command = [sys.executable, "-m", "lrscout", "find-batch-size", f"{OBSERVED}:hanging", "--budget", "1GiB"]
    search = subprocess.Popen(
        [*command, "--device", "cpu", "-o", "run.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    hanging, deadline = tmp_path / "hanging", time.monotonic() + 120
    try:
        while not hanging.exists() and search.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        trial = int(hanging.read_text())  # of size 16
        server = int(Path(f"/proc/{trial}/stat").read_text().rpartition(")")[2].split()[1])
        search.send_signal(signal.SIGINT)
        out, err = search.communicate(timeout=120)
    finally:
        search.kill()
    record = from_json((tmp_path / "run.json").read_text())
    assert search.returncode == 130, err
    assert "Traceback" not in err
    assert "\n\nInterrupted: sizes up to 4 ran\n" in out
    assert (record.status, [t.batch_size for t in record.result.trials]) == ("interrupted", [4])
    assert record.result.batch_size is None
    assert server != search.pid
    for process in (trial, server):
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
