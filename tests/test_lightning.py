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
from torchmetrics import MeanMetric

import lrscout
from lrscout.cli import main
from lrscout.engine.trials.feed import Feed
from lrscout.engine.trials.source import Source
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, UsageError, WorkloadError
from lrscout.results import Target
from lrscout.runs.comparison.observer import ComparisonObserver
from lrscout.runs.comparison.requests import LiveTarget
from lrscout.runs.comparison.search import compare
from lrscout.settings import CompareSchedulersSettings

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


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_module_finds_as_many_schedulers_as_it_configures_and_knows_the_last_batch(count: int) -> None:
    seen: list[tuple[int, bool]] = []

    class Scheduled(Gan):
        def training_step(self, batch: Any) -> None:
            super().training_step(batch)
            found = self.lr_schedulers()
            several = found if isinstance(found, list) else [] if found is None else [found]
            if self.trainer.is_last_batch:
                for each in several:
                    each.step()
            seen.append((len(several), self.trainer.is_last_batch))

        def configure_optimizers(self) -> Any:
            made = super().configure_optimizers()
            return made, [torch.optim.lr_scheduler.ConstantLR(each, 1.0) for each in made[:count]]

    steps(make_workload(Scheduled()), STEPS, lr=0.01)
    ours = seen.copy()
    seen.clear()
    trained_by_lightning(Scheduled(), each=2)
    assert ours == seen
    assert {several for several, _ in seen} == {count}


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


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_that_evaluates_its_loss_several_times_is_counted_once(accumulate: int) -> None:
    counts = counted(CountingLbfgs(), 3, accumulate=accumulate)
    ends = [step for where, step, _ in counts if where.endswith("end") and "epoch" not in where]
    assert ends == ([1, 2, 3] if accumulate == 1 else [0, 1, 1, 2, 2, 3])
    assert [where for where, *_ in counts].count("before step") > 3


def test_the_held_out_loss_is_that_of_the_validation_step() -> None:
    module = Regression()
    session = make_session(make_workload(module), val_batches=2)
    with session.open(), torch.no_grad():
        found = float(session.evaluate())
        module.eval()
        expected = [nn.functional.l1_loss(module.net(x), y) for x, y in loader(16, held_out=True)]
    assert found == float(torch.stack(expected).mean())


class KnowsStage(Regression):
    """Asks its trainer what it is doing, and keeps a part in training mode when it is evaluated."""

    def note(self) -> None:
        trainer = self.trainer
        self.seen.append(f"{trainer.state.fn} {trainer.state.stage} {trainer.training} {trainer.validating}")

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.note()
        return super().training_step(batch, batch_idx)

    def on_validation_model_eval(self) -> None:
        super().on_validation_model_eval()
        self.net[1].train()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.note()
        super().validation_step(batch, batch_idx)


def test_a_module_is_evaluated_in_the_modes_and_the_stage_that_lightning_gives_it() -> None:
    module, reference = KnowsStage(), KnowsStage()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = pl.Trainer(max_steps=1, accelerator="cpu", num_sanity_val_steps=0, val_check_interval=1, **quiet)
    trainer.fit(reference)
    session = make_session(make_workload(module), val_batches=2)
    with session.open():
        session.set_lr(0.05)
        session.train_step()
        assert float(session.evaluate()) == float(trainer.callback_metrics["val_loss"])
        assert module.seen == reference.seen
        assert module.net.training


class LogsOneLoss(Regression):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        self.log_dict({"val/Loss": nn.functional.l1_loss(self.net(batch[0]), batch[1]), "val/acc": 0.5})


def test_the_only_loss_that_validation_logs_is_the_held_out_loss() -> None:
    targets: list[Any] = [lambda: LogsOneLoss(), lambda: Regression()]
    found, expected = (lrscout.compare_schedulers(each, schedules=["constant", "cosine"], **SHORT) for each in targets)
    assert found.result.metric.name == "held-out loss"
    assert [run.final for run in found.runs] == [run.final for run in expected.runs]


class ReturnsPredictions(Regression):
    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        super().validation_step(batch, batch_idx)
        return self.net(batch[0]), batch[1]


def test_validation_may_return_anything_besides_the_loss_that_it_logs() -> None:
    targets: list[Any] = [lambda: ReturnsPredictions(), lambda: Regression()]
    found, expected = (lrscout.compare_schedulers(each, schedules=["constant", "cosine"], **SHORT) for each in targets)
    assert [run.final for run in found.runs] == [run.final for run in expected.runs]


class LogsTwoLosses(Regression):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"val/loss_a": 1.0, "val/loss_b": 2.0})


class LogsNothing(Regression):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        pass


SHORT: dict[str, Any] = {"steps": 10, "seeds": 2, "lr": 0.01, "lr_mode": "shared", "device": "cpu"}


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (LogsTwoLosses, "LogsTwoLosses.validation_step returns no loss, and only logs 'val/loss_a', 'val/loss_b'."),
        (LogsNothing, "LogsNothing.validation_step returns no loss, and logs nothing."),
    ],
)
def test_without_a_held_out_loss_schedules_are_compared_by_the_training_loss(kind: Any, said: str) -> None:
    found = lrscout.compare_schedulers(lambda: kind(), schedules=["constant", "cosine"], **SHORT)
    assert (found.status, found.result.metric.name) == ("ok", "training loss")
    told = [text for text in found.warnings if "validation_step" in text]
    assert told == [f"{said} The training loss counts instead. Return the loss, or call self.log('val_loss', loss)."]


def test_that_there_is_no_held_out_loss_is_said_before_the_first_run() -> None:
    told: list[str] = []

    class Observer(ComparisonObserver):
        def say(self, text: str) -> None:
            told.append(text)

        def finished(self, *given: Any) -> None:
            told.append("run")

    settings = CompareSchedulersSettings(schedules=("constant", "cosine"), **SHORT)
    compare(Target(None), settings, Observer(), live=LiveTarget(lambda seed: make_workload(LogsNothing())))
    assert told[0] == "LogsNothing.validation_step returns no loss, and logs nothing. Comparing training losses."
    assert told.count("run") == 4


def test_without_a_held_out_loss_a_rate_is_refined_by_the_training_loss() -> None:
    found = lrscout.find_lr(LogsNothing(), refine=600, device="cpu")
    assert found.result.refinement.metric == "training loss"
    assert any("The training loss counts instead" in text for text in found.warnings), found.warnings


def test_averaged_weights_need_a_held_out_loss() -> None:
    with pytest.raises(UsageError, match=r"LogsNothing.validation_step returns no loss.*") as caught:
        lrscout.compare_schedulers(lambda: LogsNothing(), schedules=["constant", "constant+swa"], **SHORT)
    assert caught.value.hint == "Let it return one, or leave out +swa."


class WithMetric(Regression):
    """As the widely used project templates do it: the optimizer from the trainer's model, the loss as a metric."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = MeanMetric()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, targets = batch
        self.mean(nn.functional.l1_loss(self.net(inputs), targets))
        self.log("val/loss", self.mean, on_epoch=True)

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.trainer.model.parameters(), lr=0.05)


def test_the_held_out_loss_may_be_logged_as_a_metric() -> None:
    session = make_session(make_workload(WithMetric()), val_batches=2)
    as_number = make_session(make_workload(Regression()), val_batches=2)
    with session.open(), as_number.open(), torch.no_grad():
        assert float(session.evaluate()) == pytest.approx(float(as_number.evaluate()))
    assert steps(make_workload(WithMetric()), 5, lr=0.05) == plain(5)


class KnowsLoaders(Regression):
    """Derives its rate and its checks from the trainer's loaders."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert batch_idx < len(self.trainer.train_dataloader)  # type: ignore[arg-type]
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self) -> Any:
        assert len(self.trainer.val_dataloaders.dataset) == 32  # type: ignore[union-attr]
        return torch.optim.AdamW(self.parameters(), lr=0.4 / len(self.trainer.train_dataloader))  # type: ignore[arg-type]


def test_the_loaders_are_at_the_trainer() -> None:
    session = make_session(make_workload(KnowsLoaders()))
    assert session.own_lr == pytest.approx(0.4 / 8)
    assert steps(make_workload(KnowsLoaders()), 10, lr=0.05) == plain(10)


class WithLogger(Regression):
    """Calls the logger's own methods, as one does to log pictures."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.logger.experiment.add_image("batch", batch[0], self.global_step)  # type: ignore[union-attr]
        self.loggers[0].log_metrics({"there": 1.0})
        return super().training_step(batch, batch_idx)


def test_what_a_step_tells_its_logger_goes_nowhere(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert steps(make_workload(WithLogger()), 5, lr=0.05) == plain(5)
    assert list(tmp_path.iterdir()) == []


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


def test_data_may_come_from_a_datamodule_made_of_datasets() -> None:
    data = pl.LightningDataModule.from_datasets(loader().dataset, loader(held_out=True).dataset, batch_size=8)
    shuffled = make_workload((Regression(), data))
    assert len(shuffled.train_loader.dataset) == 64
    assert len(shuffled.val_loader.dataset) == 32


class Joins(Regression):
    """Reads two loaders at once, the second of which is shorter."""

    def __init__(self, joins: Any) -> None:
        super().__init__()
        self.joins = joins

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        (inputs, targets), (more, of_more) = batch
        assert len(self.trainer.train_dataloader[1].dataset) == 32
        return super().training_step((torch.cat([inputs, more]), torch.cat([targets, of_more])), batch_idx)

    def train_dataloader(self) -> Any:
        return self.joins([loader(self.hparams.batch_size), loader(self.hparams.batch_size, held_out=True)])


@pytest.mark.parametrize("mode", ["list", "max_size_cycle", "min_size"])
def test_several_loaders_are_joined_as_under_lightning(mode: str) -> None:
    from pytorch_lightning.utilities import CombinedLoader

    def made() -> Any:
        return Joins(list if mode == "list" else lambda loaders: CombinedLoader(loaders, mode))

    workload = make_workload(made())
    assert len(workload.train_loader) == (4 if mode == "min_size" else 8)
    assert steps(workload, STEPS, lr=0.05) == trained_by_lightning(made())
    resized = Source(Target(None), "batch_size", 0, live=made).with_batch_size(4).train_loader
    assert [len(inputs) for inputs, _ in next(iter(resized))] == [4, 4]


class Transfers(Regression):
    """Has its batches in a form that only its own hooks can move."""

    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        return [part.to(device) for part in batch["parts"]]

    def on_before_batch_transfer(self, batch: Any, _: int) -> Any:
        return {"parts": [batch[0] * 1.1, batch[1]]}

    def on_after_batch_transfer(self, batch: Any, _: int) -> Any:
        return batch[0] + 0.1, batch[1]


def test_all_hooks_of_a_batch_act_as_under_lightning() -> None:
    ours = steps(make_workload(Transfers()), STEPS, lr=0.05)
    assert ours == trained_by_lightning(Transfers())
    assert ours != plain()


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


def test_a_module_within_torch_compile_is_trained_as_it_is_with_a_word() -> None:
    session = make_session(make_workload((torch.compile(Regression()), Data())))
    assert session.warnings == ("The torch.compile around the module is left out: --compile compiles its forward.",)
    assert steps(make_workload((torch.compile(Regression()), Data())), 5, lr=0.05) == plain(5)


class Averages(Regression):
    """Keeps a moving average of its weights, with the gradients that one forgets to leave out."""

    def __init__(self) -> None:
        super().__init__()
        self.average = network().requires_grad_(False)

    def on_train_batch_end(self, *given: Any) -> None:
        for average, parameter in zip(self.average.parameters(), self.net.parameters()):
            average.lerp_(parameter, 0.1)


def test_an_average_of_the_weights_that_took_a_gradient_is_put_back() -> None:
    module = Averages()
    before = digest(module)
    assert steps(make_workload(module), 5, lr=0.05) == plain(5)
    assert digest(module) == before
    assert not module.average[0].weight.requires_grad


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


class Sized(Regression):
    def val_dataloader(self) -> Any:
        return [loader(self.hparams.batch_size), loader(4)]


def test_validation_loaders_that_are_left_out_are_told_once() -> None:
    source = Source(Target(None), "batch_size", 0, live=lambda: Sized())
    told = source.with_batch_size(4).host.warnings
    assert told.count("Only the first of 2 validation loaders is evaluated.") == 1, told


class AsksSettings(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer_told = (
            self.trainer.accumulate_grad_batches,
            self.trainer.world_size,
            self.trainer.estimated_stepping_batches,
        )
        return super().training_step(batch, batch_idx)


def test_a_module_is_told_the_accumulation_and_the_ranks(monkeypatch: Any) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 2)
    module = AsksSettings()
    session = make_session(make_workload(module), accumulate=4)
    with session.open():
        session.train_step()
        assert module.trainer_told == (4, 3, 2)  # of 8 batches
        assert (module.trainer.global_rank, module.trainer.is_global_zero) == (2, False)


def test_a_given_val_loader_stays_when_the_batch_size_is_set_in_the_module() -> None:
    given = loader(16)
    source = Source(Target(None), "batch_size", 0, live=lambda: {"model": Regression(), "val_loader": given})
    workload = source.with_batch_size(4)
    assert workload.train_loader.batch_size == 4
    assert workload.val_loader is given


class OwnHooks(Regression):
    def configure_callbacks(self) -> Any:
        return [Losses()]

    def configure_gradient_clipping(self, *given: Any) -> None:
        pass


class OwnHooksOfGan(Gan):
    configure_callbacks, configure_gradient_clipping = (
        OwnHooks.configure_callbacks,
        OwnHooks.configure_gradient_clipping,
    )


def test_what_is_left_out_of_a_module_is_said_where_lightning_would_call_it() -> None:
    def told(module: Any) -> tuple[str, ...]:
        return make_session(make_workload(module)).warnings

    assert told(OwnHooks()) == (
        "OwnHooks.configure_gradient_clipping is not run: lrscout does that itself.",
        "The callbacks of OwnHooks.configure_callbacks are left out.",
    )
    assert told(OwnHooksOfGan()) == ("The callbacks of OwnHooksOfGan.configure_callbacks are left out.",)


class NoLoss(Gan):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("accuracy", 0.5)


class LeavesOut(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        super().training_step(batch, batch_idx)  # which logs the loss


class NoData(pl.LightningModule):
    def configure_optimizers(self) -> Any:
        return None


class NoOptimizer(Regression):
    def configure_optimizers(self) -> Any:
        pass


class AsksTrainer(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.trainer.profiler


class AsksStrategy(Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        assert self.trainer.strategy.root_device == self.device
        return self.trainer.strategy.cluster_environment  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("module", "error", "said"),
    [
        (NoLoss, WorkloadError, r"(?s)returns no loss, and only logs 'accuracy'.*self.log\('train_loss', loss\)"),
        (LeavesOut, WorkloadError, r"(?s)LeavesOut.training_step returned no loss for a batch.*Return the loss\."),
        (NoData, TargetError, "NoData has no train_dataloader"),
        (NoOptimizer, TargetError, r"(?s)NoOptimizer.configure_optimizers returns None.*Is a return statement missing"),
        (AsksTrainer, AttributeError, "self.trainer.profiler is not there"),
        (AsksStrategy, AttributeError, "self.trainer.strategy.cluster_environment is not there"),
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
