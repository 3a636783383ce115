"""A LightningModule is a target as it stands, and trains as under Lightning's own Trainer."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_workloads import digest, make_session, steps
from torch import nn

import lrscout
from lrscout.cli import main
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.source import Source
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, WorkloadError
from lrscout.results import Target

pl = pytest.importorskip("pytorch_lightning")
from lightning_modules import FORMS, Data, Gan, Hooked, Regression, loader, network  # noqa: E402

pytestmark = pytest.mark.slow  # Lightning takes seconds to import

STEPS = 20


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Losses(pl.Callback):
    """Notes the loss of every batch of a Trainer."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        logged = trainer.logged_metrics
        losses = [value for name, value in logged.items() if name.endswith("loss")]
        self.found.append(float(torch.stack(losses).sum()))


def trained_by_lightning(module: Any, count: int = STEPS, **options: Any) -> list[float]:
    losses = Losses()
    trainer = pl.Trainer(
        max_steps=count * options.pop("each", 1),
        accelerator="cpu",
        logger=False,
        callbacks=[losses],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(module)
    return losses.found


def plain(count: int = STEPS) -> list[float]:
    workload = Workload(network(), loader(), nn.MSELoss(), torch.optim.AdamW)
    return steps(workload, count, lr=0.05)


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_configure_optimizers_train_like_the_plain_model_and_like_lightning(form: str) -> None:
    ours = steps(make_workload(Regression(form=form)), STEPS, lr=0.05)
    assert ours == plain()
    assert ours == trained_by_lightning(Regression(form=form))


def test_hooks_around_a_step_act_as_under_lightning() -> None:
    module = Hooked()
    ours = steps(make_workload(module), STEPS, lr=0.05)
    reference = Hooked()
    assert ours == trained_by_lightning(reference)
    assert ours != plain()
    session = make_session(make_workload(module))
    module.seen.clear()
    with session.open():
        for _ in range(9):
            session.train_step()
        assert module.seen == ["start", "epoch 0", "epoch 1"] == reference.seen[:3]


def test_manual_optimization_of_two_optimizers_trains_as_under_lightning() -> None:
    ours = steps(make_workload(Gan()), STEPS, lr=0.01)
    assert ours == trained_by_lightning(Gan(), each=2)  # whose steps are those of all optimizers


def test_accumulation_trains_as_under_lightning() -> None:
    ours = steps(make_workload(Regression()), 8, lr=0.05, accumulate=2)
    single = trained_by_lightning(Regression(), 8, accumulate_grad_batches=2)
    assert ours == pytest.approx([(a + b) / 2 for a, b in zip(single[::2], single[1::2])], rel=1e-6)


class Counts:
    """Notes the trainer's counters in every hook."""

    def note(self, where: str) -> None:
        self.counts = [*getattr(self, "counts", []), (where, self.global_step, self.current_epoch)]

    def on_train_epoch_start(self) -> None:
        self.note("epoch start")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.note(f"batch {batch_idx} start")

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.note("before step")

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.note(f"batch {batch_idx} end")

    def on_train_epoch_end(self) -> None:
        self.note("epoch end")


class CountingRegression(Counts, Regression):
    pass


class CountingGan(Counts, Gan):
    def training_step(self, batch: Any) -> None:
        super().training_step(batch)
        self.note("stepped")


def counted(module: Any, count: int, **settings: Any) -> list[Any]:
    session = make_session(make_workload(module), **settings)
    with session.open():
        for _ in range(count):
            session.train_step()
        return list(module.counts)


@pytest.mark.parametrize(
    ("kind", "accumulate", "of_lightning"),
    [
        (CountingRegression, 1, {}),
        (CountingRegression, 4, {"accumulate_grad_batches": 4}),
        (CountingGan, 1, {"each": 2}),
    ],
    ids=["automatic", "accumulated", "manual"],
)
def test_steps_and_epochs_are_counted_as_under_lightning(kind: Any, accumulate: int, of_lightning: Any) -> None:
    count = 20 // accumulate  # two and a half epochs
    reference = kind()
    trained_by_lightning(reference, count, **of_lightning)
    assert reference.counts.pop() == ("epoch end", count * of_lightning.get("each", 1), 2)  # where a Trainer stops
    assert counted(kind(), count, accumulate=accumulate) == reference.counts


@pytest.mark.parametrize(
    ("size", "read"),
    [(8, loader(32)), (32, Feed(loader(32), 32, None))],
    ids=["share of a rank", "trial, which has no end"],
)
def test_an_epoch_has_the_batches_of_the_loader_that_is_read(size: int, read: Any) -> None:
    source = Source(Target(None), "batch_size", 0, live=lambda: CountingRegression())
    workload = replace(source.with_batch_size(size), train_loader=read)
    session = make_session(workload)
    with session.open():
        for _ in range(3):
            session.train_step()
        assert workload.model.trainer.num_training_batches == 2
        assert [count for count in workload.model.counts if "epoch" in count[0]] == [
            ("epoch start", 0, 0),
            ("epoch end", 2, 0),
            ("epoch start", 2, 1),
        ]


class CountingLbfgs(CountingRegression):
    def configure_optimizers(self) -> Any:
        return torch.optim.LBFGS(self.parameters(), max_iter=3)


def test_a_step_that_evaluates_its_loss_several_times_is_counted_once() -> None:
    counts = counted(CountingLbfgs(), 3)
    assert [step for where, step, _ in counts if where.endswith("end")] == [1, 2, 3]
    assert [where for where, *_ in counts].count("before step") > 3


def test_the_held_out_loss_is_that_of_the_validation_step() -> None:
    module = Regression()
    session = make_session(make_workload(module), val_batches=2)
    with session.open(), torch.no_grad():
        found = float(session.evaluate())
        module.eval()
        expected = [nn.functional.l1_loss(module.net(x), y) for x, y in loader(16, held_out=True)]
    assert found == float(torch.stack(expected).mean())


@pytest.mark.parametrize(
    "given",
    [
        lambda data: (Regression(), data),
        lambda data: {"model": Regression(), "datamodule": data},
        lambda data: Workload(Regression(), data),
    ],
    ids=["tuple", "mapping", "workload"],
)
def test_data_may_come_from_a_datamodule(given: Any) -> None:
    data = Data()
    workload = make_workload(given(data))
    assert data.ready == ["prepared", "fit"]
    assert steps(workload, 5, lr=0.05) == plain(5)


class NoDatamodule:
    """Has the methods of a LightningDataModule, without being one."""

    def prepare_data(self) -> None: ...

    def setup(self, stage: str) -> None: ...

    def train_dataloader(self) -> Any:
        return loader()


@pytest.mark.parametrize("given", [NoDatamodule(), Data, loader()], ids=["look-alike", "class", "loader"])
def test_a_datamodule_that_is_none_of_lightnings_is_refused(given: Any) -> None:
    with pytest.raises(TargetError, match="must be a LightningDataModule, not") as raised:
        make_workload({"model": Regression(), "datamodule": given})
    assert repr(type(given).__name__) in raised.value.message
    assert '"train_loader"' in raised.value.hint


def test_data_may_come_from_a_loader_and_an_optimizer_from_the_target() -> None:
    parts = {"model": Regression(), "train_loader": loader(), "optimizer": torch.optim.SGD}
    assert steps(make_workload(parts), 3) == steps(Workload(network(), loader(), nn.MSELoss(), torch.optim.SGD), 3)


def test_a_module_with_a_loss_fn_is_a_plain_model() -> None:
    class Plain(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def forward(self, inputs: Any) -> Any:
            return self.net(inputs)

    assert steps(make_workload((Plain(), loader(), nn.MSELoss(), torch.optim.AdamW)), 5, lr=0.05) == plain(5)


def test_everything_of_a_live_module_is_put_back() -> None:
    module = Hooked()
    before = digest(module), set(vars(module))
    found = lrscout.find_lr(module, device="cpu", max_steps=150)
    assert found.suggestion.lr is not None
    assert (digest(module), set(vars(module))) == before
    assert module._trainer is None


def test_a_scheduler_is_left_out_with_a_word() -> None:
    (warning,) = make_session(make_workload(Regression(form="two lists"))).warnings
    assert "LambdaLR of configure_optimizers is left out" in warning


@pytest.mark.parametrize(
    "made",
    [lambda: Regression(), lambda: (Regression(), Data()), lambda batch_size=8: Regression(batch_size=batch_size)],
    ids=["hparams", "datamodule", "argument"],
)
def test_the_batch_size_is_set_where_lightning_has_it(made: Any) -> None:
    source = Source(Target(None), "batch_size", 0, live=made)
    loaders = [source.with_batch_size(size).train_loader for size in (4, 32)]
    assert [len(next(iter(each))[0]) for each in loaders] == [4, 32]


class NoLoader(Regression):
    train_dataloader = pl.LightningModule.train_dataloader


@pytest.mark.parametrize("kind", [Regression, NoLoader], ids=["own loader as well", "no own loader"])
@pytest.mark.parametrize(
    "form", [tuple, lambda pair: {"model": pair[0], "train_loader": pair[1]}], ids=["tuple", "dict"]
)
def test_the_batches_of_another_size_are_of_the_loader_that_was_given(kind: Any, form: Any) -> None:
    given = loader(8, held_out=True)
    source = Source(Target(None), "batch_size", 0, live=lambda: form((kind(), given)))
    found = source.with_batch_size(4).train_loader
    assert found.batch_size == 4
    assert found.dataset is given.dataset


def test_a_given_val_loader_stays_when_the_batch_size_is_set_in_the_module() -> None:
    given = loader(16)
    source = Source(Target(None), "batch_size", 0, live=lambda: {"model": Regression(), "val_loader": given})
    workload = source.with_batch_size(4)
    assert workload.train_loader.batch_size == 4
    assert workload.val_loader is given


class NoLoss(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("accuracy", 0.5)


class NoData(pl.LightningModule):
    def configure_optimizers(self) -> Any:
        return None


class AsksTrainer(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.trainer.profiler


@pytest.mark.parametrize(
    ("module", "error", "said"),
    [
        (NoLoss, WorkloadError, r"(?s)returns no loss, and only logs 'accuracy'.*self.log\('train_loss', loss\)"),
        (NoData, TargetError, "NoData has no train_dataloader"),
        (AsksTrainer, AttributeError, "self.trainer.profiler is not there"),
    ],
)
def test_what_a_module_lacks_is_said(module: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        steps(make_workload(module()), 1)


def test_a_module_is_searched_from_the_command_line(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    where = f"{Path(__file__).parent / 'lightning_modules.py'}:Regression"
    assert main(["find-lr", where, "-k", "batch_size=16", "--device", "cpu", "--max-steps", "150", "-q"]) == 0
    assert float(capsys.readouterr().out) > 1e-4
    arguments = ["--steps", "30", "--seeds", "2", "--lr", "0.01", "-s", "constant", "-s", "cosine", "-q"]
    assert main(["compare-schedulers", where, "--device", "cpu", *arguments]) == 0


def test_modules_that_come_with_lightning_have_their_own_data() -> None:
    from pytorch_lightning.demos.boring_classes import BoringDataModule, BoringModel

    for given in (BoringModel(), (BoringModel(), BoringDataModule())):
        assert len(list(make_workload(given).train_loader)) == 64


def test_lightning_pytorch_is_known_as_well() -> None:
    code = (
        "import lightning.pytorch as pl, torch, sys\n"
        "class M(pl.LightningModule):\n"
        "    def training_step(self, batch): return self.layer(batch).mean()\n"
        "m = M(); m.layer = torch.nn.Linear(2, 1)\n"
        "m.configure_optimizers = lambda: torch.optim.SGD(m.parameters(), 0.1)\n"
        "from lrscout.engine.workload import make_workload\n"
        "print(type(make_workload((m, [torch.ones(2, 2)])).host).__name__)\n"
    )
    pytest.importorskip("lightning")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "LightningHost", done.stderr
