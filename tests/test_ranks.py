"""Targets on several ranks: what each gets, how the model is divided, and that the ranks train as one process does."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import ranked
import torch
import torch.distributed as dist
from attaching import MARK, alive
from torch import nn
from torch.distributed import distributed_c10d
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, TensorDataset, WeightedRandomSampler

import lrscout
from lrscout.api.targets import command_target
from lrscout.cli import main
from lrscout.commands import torchrun
from lrscout.engine.session import Session
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import LrscoutError, UsageError, UserCodeError, WorkloadError
from lrscout.ranks import __main__ as program
from lrscout.ranks.arguments import on_ranks, read
from lrscout.ranks.loaders import shared, shared_to_evaluate
from lrscout.ranks.program import train
from lrscout.ranks.strategies import LossOfBatch, blocks, wrapped
from lrscout.records import load
from lrscout.results import Target, TargetOnRanks
from lrscout.runs.batch_size.command import CommandTrials
from lrscout.settings import FindBatchSizeSettings, FindLrSettings, SessionSettings

HERE = Path(__file__).parent
SWEEP: dict[str, Any] = {"min_lr": 1e-3, "max_lr": 0.1, "steps": 12, "early_stop": False, "rule": "steepest"}
PATH = f"{HERE / 'ranked.py'}:"
MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="commands are supervised on Linux")


@pytest.fixture
def nothing_left(mark, monkeypatch):
    """Sees that no process of the test is left, and that none trains in two threads."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv(MARK, mark)
    yield
    monkeypatch.delenv(MARK)
    assert [line for line in alive(mark) if "pytest" not in line] == []


# What each rank gets


def loader_of(samples: int = 12, **options: Any) -> DataLoader[Any]:
    return DataLoader(TensorDataset(torch.arange(samples)), batch_size=2, **options)


def passed(loader: Any) -> list[int]:
    return [int(value) for (batch,) in loader for value in batch]


def test_the_ranks_share_the_samples_of_every_pass_in_a_new_order():
    first, second = (shared(loader_of(shuffle=True), 2, rank, seed=0)[0] for rank in range(2))
    passes = [(passed(first), passed(second)) for _ in range(2)]
    for one, other in passes:
        assert sorted(one + other) == list(range(12))
    assert passes[0] != passes[1]


def test_a_loader_that_does_not_shuffle_deals_its_samples_out_in_order():
    assert [passed(shared(loader_of(), 2, rank, seed=0)[0]) for rank in range(2)] == [
        [0, 2, 4, 6, 8, 10],
        [1, 3, 5, 7, 9, 11],
    ]


def test_a_share_is_batched_and_collated_as_the_loader_was():
    loader = loader_of(11, drop_last=True, collate_fn=lambda samples: [sum(sample[0] for sample in samples)])
    share, _ = shared(loader, 2, 0, seed=0)
    assert [int(batch[0]) for batch in share] == [0 + 2, 4 + 6]  # the fifth sample of its share is left over
    assert len(share) == 2


def test_held_out_samples_are_shared_without_leaving_one_out_and_are_the_same_in_every_pass():
    loader = DataLoader(TensorDataset(torch.arange(6)), batch_size=4, drop_last=True, shuffle=True)
    shares = [shared_to_evaluate(loader, 2, rank) for rank in range(2)]
    assert [passed(share) for share in shares] == [[0, 2, 4], [1, 3, 5]] == [passed(share) for share in shares]


def test_held_out_batches_that_cannot_be_shared_are_left_alone():
    assert shared_to_evaluate([1, 2], 2, 0) == [1, 2]
    assert shared_to_evaluate(None, 2, 0) is None


def test_a_share_that_is_smaller_than_a_batch_is_told():
    told = [shared(loader_of(samples), 2, 0, seed=0)[1] for samples in (2, 4)]
    assert told == ["The train_loader has batches of 2, but there is only 1 of the samples for each rank.", None]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(range(4))


@pytest.mark.parametrize(
    ("loader", "named"),
    [
        (DataLoader(Stream(), batch_size=2), "IterableDataset ('Stream')"),
        (loader_of(sampler=WeightedRandomSampler([1.0] * 12, 12)), "'WeightedRandomSampler'"),
        ([1, 2], "no DataLoader ('list')"),
        (DataLoader(range(4), batch_sampler=[[0, 1], [2, 3]]), "batch_sampler"),
    ],
    ids=["iterable", "sampler", "list", "batch sampler"],
)
def test_a_loader_with_an_order_of_its_own_is_left_alone_with_a_warning(loader, named):
    found, warning = shared(loader, 2, 0, seed=0)
    assert found is loader
    assert named in warning


def test_a_distributed_sampler_of_the_users_stays_without_a_word():
    loader = loader_of(sampler=DistributedSampler(range(12), 2, 0))
    assert shared(loader, 2, 0, seed=0) == (loader, None)


# How a model is divided


def test_blocks_are_the_items_of_the_outermost_lists():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(4, 4)
            self.layers = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(2))
            self.head = nn.Sequential(nn.Dropout(), nn.Linear(4, 4))

    model = Model()
    assert list(blocks(model)) == [*model.layers, model.head[1]]


def test_a_list_in_a_list_is_no_block_but_its_items_are():
    model = nn.ModuleList([nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])])
    assert list(blocks(model)) == [*model[0]]


def test_an_item_that_shares_a_weight_with_another_is_no_block():
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)])
    model[2].weight = model[0].weight
    assert list(blocks(model)) == [model[1]]


def test_an_item_that_the_loss_uses_as_well_is_no_block():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    assert list(blocks(model, nn.ModuleDict({"penalized": model[0]}))) == [model[1]]


# How the program is asked for


def test_the_program_reads_the_settings_that_were_written_for_it():
    settings = FindLrSettings(
        nproc=2,
        strategy="fsdp",
        precision="bf16",
        accumulate=3,
        clip_norm=1.0,
        seed=7,
        optimizer="sgd",
        optimizer_arg={"momentum": 0.9, "nesterov": True},
        cudnn_benchmark=False,
    )
    target = Target("mod:build", {"width": 64, "name": "a b"}, ".")
    found = on_ranks(target, settings)
    assert isinstance(found, TargetOnRanks)
    assert found.as_dict() == target.as_dict()
    arguments = read(found.filled(seed=7)[3:])
    assert (arguments.target, arguments.nproc, arguments.strategy) == (target, 2, "fsdp")
    names = ("seed", "precision", "accumulate", "clip_norm", "optimizer", "optimizer_arg", "cudnn_benchmark")
    assert {name: getattr(arguments.settings, name) for name in names} == {
        name: getattr(settings, name) for name in names
    }


def test_a_targets_arguments_reach_the_ranks_as_they_are():
    kwargs = {
        "name": "ckpt-{steps}-{seed}.pt",
        "at": r"\{batch_size}",
        "{seed}": {"of {steps}": [1.0, None, "é\ud800"]},
        "frozen": MappingProxyType({"a": 1}),
    }
    found = on_ranks(Target("mod:build", kwargs), FindLrSettings(nproc=2))
    assert isinstance(found, TargetOnRanks)
    assert not found.takes("steps")
    words = found.filled(seed=7, steps=2000, batch_size=8)
    assert read(words[3:]).target.kwargs == kwargs
    assert words[words.index("--seed") + 1] == "7"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({1: "a"}, "{'1': 'a'}"),
        ([(1, 2)], "[[1, 2]]"),
        (Path("x"), f"no {type(Path()).__name__}"),
        (date(2026, 1, 2), "no date"),
        (b"x", "no bytes"),
        ([{("a", 1)}], "no set"),
        ({(1, 2): 3}, "keys"),
    ],
    ids=lambda value: repr(value),
)
def test_an_argument_that_json_would_alter_is_refused_by_its_name(value, told):
    with pytest.raises(UsageError, match="'width'") as raised:
        on_ranks(Target("mod:build", {"depth": 2, "width": value}), FindLrSettings(nproc=2))
    assert told in raised.value.message


def test_an_argument_that_is_no_number_reaches_the_ranks():
    found = on_ranks(Target("mod:build", {"fill": [math.nan]}), FindLrSettings(nproc=2))
    assert isinstance(found, TargetOnRanks)
    assert math.isnan(read(found.filled(seed=0)[3:]).target.kwargs["fill"][0])


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["find-lr", "m:build", "--nproc", "2", "--val-batches", "2"], "--val-batches"),
        (["find-lr", "m:build", "--nproc", "2", "--listen", "host"], "training commands alone"),
        (["find-lr", "m:build", "--restart"], "several ranks"),
        (["find-lr", "m:build", "--strategy", "fsdp"], "--nproc 2 --strategy fsdp"),
        (["find-lr", "--nproc", "2", "--", "python", "x.py"], "torchrun"),
        (["find-batch-size", "m:build", "--nproc", "2", "--eval"], "--eval"),
        (["compare-schedulers", "m:build", "--nproc", "2", "--metric-fn", "m:f"], "--metric-fn"),
    ],
    ids=lambda value: " ".join(value[2:]) if isinstance(value, list) else "",
)
def test_what_cannot_be_asked_of_several_ranks_is_refused(arguments, named, capfd):
    assert main(arguments) == 2
    assert named in capfd.readouterr().err


def test_several_ranks_can_be_started_anew(capfd):
    settings = FindLrSettings(nproc=2, restart=True)
    assert isinstance(command_target(None, settings, "m:build", {}, None, None), TargetOnRanks)
    assert main(["find-lr", "m:build", "--nproc", "2", "--restart", "--val-batches", "2"]) == 2
    assert "--val-batches cannot be used with several ranks" in capfd.readouterr().err


def test_live_objects_cannot_be_trained_on_several_ranks():
    with pytest.raises(UsageError, match="live objects"):
        lrscout.find_lr(nn.Linear(1, 1), [1], nproc=2)


@pytest.mark.parametrize("missing", [("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("LOCAL_RANK",)])
def test_a_rank_that_nobody_has_started_says_what_to_add(missing, monkeypatch, capfd):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name in missing:
        monkeypatch.delenv(name)
    monkeypatch.setattr(program, "LET_END_SECONDS", 0.0)
    monkeypatch.setattr(sys, "argv", ["lrscout.ranks", "m:build"])
    assert program.main() == 2
    err = capfd.readouterr().err
    assert f"without {', '.join(missing)}" in err
    assert "--nproc 2" in err
    assert "torchrun" in err


# Under torchrun


@pytest.fixture
def as_rank(monkeypatch):
    """This process as a rank of torchrun's."""

    def become(rank: int, ranks: int = 2, here: int = 2) -> None:
        places = {"RANK": rank, "WORLD_SIZE": ranks, "LOCAL_WORLD_SIZE": here, "TORCHELASTIC_RUN_ID": "x"}
        for name, value in places.items():
            monkeypatch.setenv(name, str(value))

    monkeypatch.setattr(torchrun, "signalled_with_parent", lambda number: None)
    monkeypatch.setattr(torchrun, "_ranks", 0)
    monkeypatch.setenv("LRSCOUT_NPROC", "")
    return become


def test_the_first_rank_of_torchrun_is_lrscout_with_as_many_ranks(as_rank):
    as_rank(0)
    assert not torchrun.is_left_to_the_first()
    torchrun.take_over()
    assert os.environ["LRSCOUT_NPROC"] == "2"
    assert not {"RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID"} & set(os.environ)


def test_all_other_ranks_of_torchrun_end_at_once(as_rank):
    as_rank(1)
    assert torchrun.is_left_to_the_first()


@pytest.mark.parametrize(
    ("arguments", "ranks", "named"),
    [
        (["find-lr", "m:build"], 4, "--listen"),
        (["check", "m:build"], 2, "without torchrun"),
        (["run", "--lr", "1", "--steps", "9", "--", "python", "x.py"], 2, "without torchrun"),
        (["find-lr", "--", "python", "x.py"], 2, "starts its own ranks, and torchrun has started 2"),
        (["find-batch-size", "--", "python", "x.py"], 2, "lrscout find-batch-size -- COMMAND"),
        (["find-lr", "--nproc", "2", "--", "python", "x.py"], 2, "starts its own ranks, and torchrun has started 2"),
    ],
    ids=["several machines", "check", "run", "command", "command's batch size", "command with --nproc"],
)
def test_what_torchrun_cannot_start_is_refused(as_rank, arguments, ranks, named, capfd):
    as_rank(0, ranks)
    assert main(arguments) == 2
    assert named in capfd.readouterr().err


# Trained


def losses(target: str, **settings: Any) -> list[float]:
    size = settings.pop("batch_size")
    found = lrscout.find_lr(PATH + target, kwargs={"batch_size": size}, device="cpu", **SWEEP, **settings)
    return [point.loss for point in found.points]


@linux
@pytest.mark.usefixtures("nothing_left", "one_thread")
@pytest.mark.parametrize(
    ("target", "settings"),
    [
        ("build", {"strategy": "ddp"}),
        pytest.param("build", {"strategy": "fsdp", "clip_norm": 0.5, "accumulate": 2}, marks=pytest.mark.slow),
        pytest.param("kept", {"strategy": "ddp", "clip_norm": 0.5, "accumulate": 2}, marks=pytest.mark.slow),
        pytest.param("kept", {"strategy": "fsdp"}, marks=pytest.mark.slow),
        pytest.param("spare", {"strategy": "fsdp"}, marks=pytest.mark.slow),
        pytest.param("scaled", {"strategy": "ddp"}, marks=pytest.mark.slow),
        pytest.param("scaled", {"strategy": "fsdp"}, marks=pytest.mark.slow),
        pytest.param("several", {"strategy": "fsdp"}, marks=pytest.mark.slow),
        pytest.param("stepped_twice", {"strategy": "ddp"}, marks=pytest.mark.slow),
        pytest.param("pretrained", {"strategy": "ddp"}, marks=pytest.mark.slow),
        pytest.param("resting", {"strategy": "ddp", "optimizer": "each"}, marks=pytest.mark.slow),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_two_ranks_have_the_curve_of_one_process_at_the_same_global_batch_size(target, settings):
    common = {name: value for name, value in settings.items() if name != "strategy"}
    alone = losses(target, batch_size=16, **common)
    assert losses(target, batch_size=8, nproc=2, **settings) == pytest.approx(alone, rel=1e-5)


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_parameter_that_takes_no_part_in_the_loss_is_named_under_ddp(accumulate):
    with pytest.raises(WorkloadError, match="The loss does not depend on spare"):
        losses("spare", batch_size=8, nproc=2, accumulate=accumulate)


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_target_that_exits_is_told_as_in_one_process():
    with pytest.raises(WorkloadError, match=r"called sys.exit\('the disk is full'\) during the run"):
        losses("exiting", batch_size=8, nproc=2)


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_lightning_module_has_its_held_out_loss_on_ranks(strategy):
    pytest.importorskip("pytorch_lightning")
    path = f"{HERE / 'lightning_modules.py'}:Regression"
    settings = {
        "schedules": ["constant", "cosine"],
        "steps": 12,
        "lr": 0.05,
        "lr_mode": "shared",
        "seeds": 1,
        "device": "cpu",
    }
    alone = lrscout.compare_schedulers(path, kwargs={"batch_size": 16}, **settings)
    ranks = lrscout.compare_schedulers(path, kwargs={"batch_size": 8}, nproc=2, strategy=strategy, **settings)
    assert [result.result.metric.name for result in (alone, ranks)] == ["held-out loss"] * 2
    assert ranks.ranking[0].final.mean < 3


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left", "one_thread")
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_every_sweep_and_training_on_ranks_begins_where_it_does_in_one_process(strategy):
    def found(size: int, **settings: Any) -> Any:
        target = {"kwargs": {"batch_size": size}, "device": "cpu", "steps": 60, "horizon": 200}
        return lrscout.find_lr(f"{PATH}build", **target, **settings).record

    alone, shared_ = found(16), found(8, nproc=2, strategy=strategy)
    one, other = alone.result, shared_.result
    assert one.coarse
    assert one.probing.probes
    assert [(point.lr, point.loss) for point in (*other.coarse, *other.points)] == [
        (point.lr, pytest.approx(point.loss, rel=1e-4)) for point in (*one.coarse, *one.points)
    ]
    assert (other.steps, other.suggestion.lr) == (one.steps, pytest.approx(one.suggestion.lr, rel=1e-3))
    assert shared_.environment == alone.environment


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_step_that_fails_on_one_rank_is_one_error_with_the_traceback_of_the_user_s_code():
    with pytest.raises(UserCodeError, match="failed on rank 1 with ValueError: the third batch is bad") as raised:
        losses("failing", batch_size=8, nproc=2)
    assert raised.value.__cause__.traceback.splitlines()[1].endswith("in step")
    assert raised.value.hint is None


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_target_that_fails_at_the_smallest_size_is_told_which_that_was(capfd):
    assert main(["find-batch-size", f"{PATH}divided", "--nproc", "2", "--device", "cpu"]) == 1
    err = capfd.readouterr().err
    told = "RuntimeError: 1 samples cannot be divided. This was at size 1, without a limit. Models with batch norm"
    assert told in " ".join(err.split())
    assert err.count("in divided") == 1


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(
    ("kind", "strategy", "said"),
    [("LBFGS", "ddp", "LBFGS evaluates the loss in its step"), ("SAM", "fsdp", "SAM moves the weights")],
)
def test_an_optimizer_that_ranks_cannot_share_is_refused_as_a_usage_error(kind, strategy, said, capfd):
    given = ["-k", f"kind={kind}", "--nproc", "2", "--strategy", strategy, "--device", "cpu"]
    assert main(["find-lr", f"{PATH}stepped_twice", *given]) == 2
    err = capfd.readouterr().err
    assert err.count(said) == 1
    assert "The command" not in err


@pytest.fixture
def one_rank(tmp_path):
    """This process as the only rank there is."""
    dist.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(params=["ddp", "fsdp"])
def strategy(request, one_rank):
    return request.param


def trained(workload: Workload, *modules: nn.Module, steps: int = 5) -> list[torch.Tensor]:
    """The modules' parameters after some steps, in one piece each."""
    settings = SessionSettings(device="cpu")
    with Session(workload, settings).open(preserve=False) as session:
        for _ in range(steps):
            session.train_step()
    parameters = [each for module in modules for each in module.parameters()]
    return [getattr(each, "full_tensor", lambda each=each: each)().detach() for each in parameters]


@pytest.mark.parametrize("optimizer", ["own", "made", "none"])
def test_the_parameters_of_a_loss_are_trained_if_they_are_in_one_process(strategy, optimizer):
    alone, shared_ = (make_workload(ranked.scaled(optimizer=optimizer)) for _ in range(2))
    shared_.model.load_state_dict(alone.model.state_dict())
    expected = trained(alone, alone.model, alone.loss_fn)
    assert (expected[-1].abs().max() > 0) == (optimizer == "own")
    parts = shared_.model, shared_.loss_fn
    torch.testing.assert_close(trained(wrapped(shared_, strategy, torch.device("cpu")), *parts), expected)


def test_a_parameter_that_the_ranks_would_not_share_is_refused(strategy):
    outside = nn.Parameter(torch.zeros(5, 3))
    parts = ranked.build()
    parts["optimizer"].add_param_group({"params": [outside]})
    with pytest.raises(UsageError, match=r"AdamW .* \(5, 3\)"):
        wrapped(make_workload(parts), strategy, torch.device("cpu"))


def test_a_step_that_steps_its_optimizers_itself_is_refused():
    with pytest.raises(UsageError, match="steps its optimizers itself"):
        wrapped(make_workload(ranked.several(manual=True)), "ddp", torch.device("cpu"))


def test_a_model_that_is_divided_already_is_refused(strategy):
    parts = ranked.build()
    torch.distributed.fsdp.fully_shard(parts["model"])
    with pytest.raises(UsageError, match="divided its model among the ranks already"):
        wrapped(make_workload(parts), strategy, torch.device("cpu"))


def test_a_target_that_starts_a_process_group_is_told_that_there_is_one(one_rank, monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)  # that of lrscout, which one_rank has made
    monkeypatch.setattr(ranked, "build", lambda: distributed_c10d.init_process_group("gloo"))
    with pytest.raises(ValueError, match="twice") as raised:
        train(read(["ranked:build", "--device", "cpu"]))
    assert "is_initialized()" in raised.value.__notes__[0]


def test_a_loss_for_each_optimizer_is_refused():
    workload = make_workload(ranked.several(losses=True))
    with pytest.raises(UsageError, match="a loss for each"):
        LossOfBatch(workload)(next(iter(workload.train_loader)))


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left", "one_thread")
def test_schedules_are_compared_on_two_ranks_as_in_one_process():
    runs = {"schedules": ["constant", "cosine"], "lr": 0.01, "lr_mode": "shared", "steps": 20, "seeds": 1}

    def compared(target: str, batch_size: int, **settings: Any) -> tuple[str, list[float | None]]:
        where = {"kwargs": {"batch_size": batch_size}, "device": "cpu", "jobs": "1"}
        found = lrscout.compare_schedulers(f"{PATH}{target}", **where, **runs, **settings)
        return found.record.result.metric.name, [run.final for run in found.runs]

    for target, metric in (("build", "training loss"), ("held_out", "held-out loss")):
        name, alone = compared(target, 16)
        assert name == metric
        assert compared(target, 8, nproc=2, strategy="fsdp") == (name, pytest.approx(alone, rel=1e-5))


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left", "one_thread")
@pytest.mark.parametrize(
    "more", [{"strategy": "fsdp"}, {"restart": True}, {"jobs": "2"}], ids=["fsdp", "restart", "jobs"]
)
def test_a_rate_is_refined_on_two_ranks_by_the_held_out_loss_of_one_process(more):
    def refined(batch_size: int, **settings: Any) -> Any:
        target = {"kwargs": {"batch_size": batch_size}, "device": "cpu", "refine": 600, "max_steps": 150}
        return lrscout.find_lr(f"{PATH}held_out", **target, **settings).result.refinement

    alone, ranks = refined(16), refined(8, nproc=2, **more)
    assert (ranks.metric, ranks.initial) == ("held-out loss", pytest.approx(alone.initial, rel=1e-5))
    assert [probe.loss for probe in ranks.probes] == [pytest.approx(probe.loss, rel=1e-3) for probe in alone.probes]


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_ranks_warn_of_what_happens_in_their_trainings():
    runs = {"schedules": ["constant", "cosine"], "lr": 0.01, "lr_mode": "shared", "steps": 20, "seeds": 1}
    given = {"kwargs": {"batch_size": 8}, "device": "cpu", "nproc": 2}
    found = lrscout.compare_schedulers(f"{PATH}endless", **given, **runs)
    assert found.record.result.metric.name == "held-out loss"
    assert len([each for each in found.record.warnings if "did not end after 100 batches" in each]) == 1


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_a_killed_rank_ends_the_search_with_one_message():
    began = time.monotonic()
    with pytest.raises(LrscoutError) as raised:
        losses("dying", batch_size=8, nproc=2)
    assert raised.value.message.startswith("Rank 1 was killed by SIGKILL (perhaps out of memory) after ")
    assert raised.value.hint is None
    assert time.monotonic() - began < 100


@linux
@pytest.mark.usefixtures("nothing_left")
def test_the_ranks_end_where_the_supervisor_that_started_them_is_killed(mark, monkeypatch, tmp_path):
    monkeypatch.setenv("LRSCOUT_ATTACH_ADDRESS", str(tmp_path / "nobody"))
    command = [sys.executable, "-m", "lrscout.ranks", f"{PATH}build", "--nproc", "2", "--device", "cpu"]
    supervisor = [sys.executable, "-c", f"import subprocess; subprocess.run({command})"]
    with subprocess.Popen(supervisor, env={**os.environ, "PYTHONPATH": str(HERE.parent)}) as started:
        wait_for(lambda: ranks_of(mark) == 3, 60)  # with the process that starts both
        started.kill()
    wait_for(lambda: not ranks_of(mark), 30)


def ranks_of(mark: str) -> int:
    return sum("lrscout.ranks" in line and "-c" not in line.split() for line in alive(mark))


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize("where", ["forward", "backward", "optimizer"])
def test_one_rank_out_of_memory_is_the_trials_outcome_and_nobody_waits(where):
    settings = FindBatchSizeSettings(nproc=2, device="cpu", timeout=120.0)
    target = on_ranks(Target(f"{PATH}greedy", {"where": where}), settings)
    trial = CommandTrials(target, settings, None, lambda: None).run(8, 64 * MIB, None).trial
    assert trial.outcome == "out_of_memory"
    assert "can't allocate memory" in trial.reason
    assert trial.seconds < 100


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "lrscout"]


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_when_torchrun_is_killed_the_search_is_interrupted(tmp_path):
    arguments = ["find-lr", f"{PATH}build", "--steps", "100000", "-o", "run.json"]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen([*TORCHRUN, *arguments], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as started:
        wait_for(lambda: (tmp_path / "run.json").exists(), 120)
        started.kill()
    wait_for(lambda: load(tmp_path / "run.json").status == "interrupted", 30)
    wait_for(lambda: not [line for line in alive(os.environ[MARK]) if "pytest" not in line], 30)


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_ctrl_c_says_of_ranks_what_it_says_of_one_process(tmp_path):
    arguments = ["find-lr", f"{PATH}build", "--nproc", "2", "--device", "cpu", "--steps", "100000", "-o", "run.json"]
    with subprocess.Popen(
        [sys.executable, "-m", "lrscout", *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        wait_for(lambda: (tmp_path / "run.json").exists(), 120)
        os.killpg(started.pid, signal.SIGINT)
        _, err = started.communicate(timeout=60)
    assert started.returncode == 130
    assert "SIGTERM" not in err
    assert "Rank" not in err


def wait_for(happened: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)


@linux
@pytest.mark.slow
@pytest.mark.usefixtures("nothing_left")
def test_under_torchrun_one_rank_prints_and_writes(tmp_path):
    flags = ["--strategy", "fsdp", "--steps", "20", "--min-lr", "1e-3", "--max-lr", "1", "-q", "-o", "run.json"]
    done = subprocess.run(
        [*TORCHRUN, "find-lr", f"{PATH}build", *flags],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 2  # the target has two parameter groups
    assert os.listdir(tmp_path) == ["run.json"]
    assert load(tmp_path / "run.json").target["ranks"] == 2
