"""A transformers.Trainer is a target as it stands, and trains as in its own loop."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from small_workloads import digest, make_session, steps
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lrscout
from lrscout.engine.environment import describe_environment
from lrscout.engine.workload import Workload, make_workload
from lrscout.errors import TargetError, UsageError
from lrscout.report.paste import schedule_lines
from lrscout.report.paste_optimizers import optimizer_lines
from lrscout.results import CompareResult, FinalMetric, Metric, RankedSchedule, RunRecord
from lrscout.schedules import parse_schedule

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments  # noqa: E402

pytestmark = pytest.mark.slow  # transformers takes seconds to import

STEPS, LR = 20, 1e-2
HERE = Path(__file__).parent


class Texts(Dataset[Any]):
    """Sequences of different lengths, whose padding has no label."""

    def __init__(self, count: int = 48) -> None:
        generator = torch.Generator().manual_seed(1)
        self.ids = torch.randint(1, 20, (count, 12), generator=generator)
        self.lengths = torch.randint(4, 13, (count,), generator=generator)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        ids = self.ids[index]
        is_there = torch.arange(12) < self.lengths[index]
        return {"input_ids": ids, "attention_mask": is_there.long(), "labels": ids.where(is_there, -100)}


def language_model() -> Any:
    torch.manual_seed(3)
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=20, n_positions=12, n_embd=16, n_layer=1, n_head=2, **no_dropout))


def make_trainer(folder: Path, kind: type[Trainer] = Trainer, model: Any = None, **arguments: Any) -> Trainer:
    more = {
        name: arguments.pop(name) for name in ("compute_loss_func", "callbacks", "eval_dataset") if name in arguments
    }
    given = {
        "output_dir": str(folder),
        "use_cpu": True,
        "per_device_train_batch_size": 4,
        "learning_rate": LR,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.1,
        "max_steps": STEPS,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    return kind(model or language_model(), TrainingArguments(**{**given, **arguments}), train_dataset=Texts(), **more)


def trained_by_transformers(trainer: Trainer) -> list[float]:
    """The losses of its own loop, which it rounds when it logs them."""
    losses: list[float] = []
    original = trainer.training_step

    def training_step(*args: Any, **more: Any) -> Any:
        losses.append(original(*args, **more))
        return losses[-1]

    trainer.training_step = training_step  # type: ignore[method-assign]
    trainer.train()
    count = trainer.args.gradient_accumulation_steps
    return [float(torch.stack(losses[at : at + count]).sum()) for at in range(0, len(losses), count)]


class Custom(Trainer):
    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        outputs = model(**{key: value for key, value in inputs.items() if key != "labels"})
        loss = outputs.logits.square().mean()
        return (loss, outputs) if return_outputs else loss


def by_function(outputs: Any, labels: Any, num_items_in_batch: Any = None) -> Any:
    logits, wanted = outputs.logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return nn.functional.cross_entropy(logits, wanted, reduction="sum") / num_items_in_batch


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "label smoothing": {"label_smoothing_factor": 0.1},
    "custom loss": {"kind": Custom},
    "loss function": {"compute_loss_func": by_function},
    "unclipped": {"max_grad_norm": 0.0},
    "adafactor": {"optim": "adafactor"},
    "accumulation": {"gradient_accumulation_steps": 3, "max_steps": 8},
    "accumulation, custom loss": {"gradient_accumulation_steps": 3, "max_steps": 8, "kind": Custom},
    "checkpointed": {"activation_checkpointing": True},
}


@pytest.mark.parametrize("case", CASES)
def test_every_step_is_that_of_the_trainers_own_loop(case: str, tmp_path: Path) -> None:
    given = CASES[case]
    ours = steps(make_workload(make_trainer(tmp_path, **given)), given.get("max_steps", STEPS), lr=LR)
    theirs = trained_by_transformers(make_trainer(tmp_path, **given))
    if "accumulation" in case and "custom" in case:
        assert ours == pytest.approx(theirs, rel=1e-6)  # they add up thirds, we divide a sum
    else:
        assert ours == theirs


def test_every_step_is_that_of_the_plain_model(tmp_path: Path) -> None:
    model = language_model()
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1]
    others = [p for name, p in model.named_parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)

    def step(batch: Any) -> Any:  # which counts the labels as the Trainer does
        return model(**batch, num_items_in_batch=batch["labels"].ne(-100).sum()).loss

    plain = Workload(model, DataLoader(Texts(), 4), optimizer=optimizer, step=step)
    ours = steps(make_workload(make_trainer(tmp_path)), STEPS, lr=LR)
    assert ours == steps(plain, STEPS, lr=LR, clip_norm=1.0)


class Around(nn.Module):
    """A model around another one, as adapters and encoders of sentences are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        sizes = {"vocab_size": 20, "n_positions": 12, "n_embd": 16, "n_layer": 1, "n_head": 2}
        self.inner = GPT2LMHeadModel(GPT2Config(**sizes, embd_pdrop=0.5)).eval()  # as from_pretrained returns it

    def forward(self, **inputs: Any) -> Any:
        return self.inner(**inputs)


def test_a_pretrained_model_inside_another_one_is_trained_with_its_dropout(tmp_path: Path) -> None:
    model, given = Around(), {"remove_unused_columns": False, "max_steps": 5}
    ours = steps(make_workload(make_trainer(tmp_path, model=model, **given)), 5, lr=LR, seed=42)
    assert (model.training, model.inner.training) == (True, False)
    assert ours == trained_by_transformers(make_trainer(tmp_path, model=Around(), **given))


class WithOwnWeights(Trainer):
    """Its loss has a weight of its own, which the optimizer trains; Trainer clips the gradients of the model alone."""

    def create_optimizer(self, model: Any = None) -> Any:
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.optimizer = torch.optim.SGD([*self.model.parameters(), self.factor], lr=LR)
        return self.optimizer

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **more: Any) -> Any:
        return super().compute_loss(model, inputs, *args, **more) * self.factor


def test_gradients_of_a_loss_are_clipped_no_more_than_the_trainer_does(tmp_path: Path) -> None:
    given = {"kind": WithOwnWeights, "max_grad_norm": 0.1, "max_steps": 2}
    (_, ours) = steps(make_workload(make_trainer(tmp_path, **given)), 2, lr=LR)
    assert ours == trained_by_transformers(make_trainer(tmp_path, **given))[1]


def test_bf16_is_taken_over_and_agrees(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, bf16=True)
    session = make_session(make_workload(trainer))
    assert session.precision == "bf16"
    ours = steps(make_workload(make_trainer(tmp_path, bf16=True)), STEPS, lr=LR)
    assert ours == pytest.approx(trained_by_transformers(trainer), rel=1e-2)


def test_arguments_are_defaults_that_what_is_given_overrides(tmp_path: Path) -> None:
    workload = make_workload(make_trainer(tmp_path, gradient_accumulation_steps=4, max_grad_norm=0.5))
    session = make_session(workload)
    assert (session.accumulate, session.settings.clip_norm, session.precision) == (4, 0.5, "fp32")
    assert describe_environment(session)["own_settings"] == {"accumulate": 4, "clip_norm": 0.5}
    session = make_session(workload, accumulate=1, clip_norm=2.0)
    assert (session.accumulate, session.settings.clip_norm) == (1, 2.0)


def test_the_held_out_loss_is_that_of_evaluate(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, eval_dataset=Texts(8), per_device_eval_batch_size=8)
    with make_session(make_workload(trainer), val_batches=1).open() as session:
        found = float(session.evaluate())
    assert found == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)


def test_averaged_weights_without_held_out_data_are_told_in_the_words_of_a_trainer(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="The target has no eval_dataset") as caught:
        lrscout.compare_schedulers(
            lambda: make_trainer(tmp_path), schedules=["cosine", "cosine+swa"], steps=10, lr=0.01, device="cpu"
        )
    assert "val_loader" not in f"{caught.value} {caught.value.hint}"


def test_a_loss_alone_counts_the_labels_of_its_own_batch(tmp_path: Path) -> None:
    session = make_session(make_workload(make_trainer(tmp_path, gradient_accumulation_steps=2)))
    with session.open(), torch.no_grad():
        batch = next(iter(session.workload.train_loader))
        first = float(session.loss(batch))
    with session.open():
        session.train_step()
        session.set_lr(0.0)
    with session.open(), torch.no_grad():
        assert float(session.loss(batch)) == first == pytest.approx(2.6154127)


def test_a_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    before, own = (digest(trainer.model), trainer.optimizer), copy.copy(vars(trainer))
    found = lrscout.find_lr(trainer, device="cpu", max_steps=150)
    assert found.suggestion.lr is not None
    assert (digest(trainer.model), trainer.optimizer) == before
    assert [name for name in own if vars(trainer)[name] is not own[name]] == []
    assert trained_by_transformers(trainer) == trained_by_transformers(make_trainer(tmp_path))


def test_what_is_not_run_is_said(tmp_path: Path) -> None:
    class Own(Trainer):
        def training_step(self, *args: Any, **more: Any) -> Any:
            return super().training_step(*args, **more)

    (warning,) = make_session(make_workload(make_trainer(tmp_path, Own))).warnings
    assert warning == "Own.training_step is not run: lrscout takes the steps, with its compute_loss."


def test_the_methods_of_a_trainer_of_transformers_are_no_surprise(tmp_path: Path) -> None:
    arguments = transformers.Seq2SeqTrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    given = {"train_dataset": Texts(), "eval_dataset": Texts(8)}
    trainer = transformers.Seq2SeqTrainer(language_model(), arguments, **given)
    with make_session(make_workload(trainer), val_batches=1).open() as session:
        assert float(session.evaluate()) == pytest.approx(trainer.evaluate()["eval_loss"], rel=1e-6)
        assert session.warnings == ()


def test_held_out_data_that_is_not_evaluated_is_said(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, eval_dataset={"a": Texts(), "b": Texts()})
    assert make_session(make_workload(trainer)).warnings == ("Only the first of 2 eval_datasets, 'a', is evaluated.",)


@pytest.mark.parametrize("given", [True, False])
def test_the_rate_is_that_of_an_optimizer_where_the_trainer_was_given_one(given: bool, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    if given:
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=LR)
    with make_session(make_workload(trainer)).open() as session:
        (line,) = optimizer_lines(describe_environment(session), [0.5])
    own = "optimizer = torch.optim.SGD(model.parameters(), lr=5.0e-1)"
    assert line == (own if given else "learning_rate=5.0e-1,  # in TrainingArguments")


def test_the_rates_are_those_of_the_groups_where_the_trainer_gives_them_others(tmp_path: Path) -> None:
    class Layered(Trainer):
        def create_optimizer(self, model: Any = None) -> Any:
            first, *others = self.model.parameters()
            self.optimizer = torch.optim.AdamW([{"params": [first], "lr": LR * 10}, {"params": others}], lr=LR)
            return self.optimizer

    with make_session(make_workload(make_trainer(tmp_path, Layered))).open() as session:
        lines = optimizer_lines(describe_environment(session), [0.5, 0.05])
    assert lines[0] == "for group, lr in zip(optimizer.param_groups, [5.0e-1, 5.0e-2], strict=True):"


def test_the_rate_is_pasted_into_the_class_of_the_trainers_own_arguments(tmp_path: Path) -> None:
    arguments = transformers.Seq2SeqTrainingArguments(str(tmp_path), use_cpu=True, report_to=[])
    trainer = transformers.Seq2SeqTrainer(language_model(), arguments, train_dataset=Texts())
    with make_session(make_workload(trainer)).open() as session:
        environment = describe_environment(session)
    assert optimizer_lines(environment, [0.5]) == ["learning_rate=5.0e-1,  # in Seq2SeqTrainingArguments"]


def test_a_sampler_that_makes_the_batches_makes_them_of_another_size(tmp_path: Path) -> None:
    def target() -> Trainer:
        return make_trainer(tmp_path, train_sampling_strategy="batch_rebalance", eval_dataset=Texts(8))

    trainer = target()
    workload = make_workload(trainer)
    assert workload.train_loader.batch_size is None
    sized = workload.host.with_batch_size(workload, 6)
    assert sized is not None
    assert [len(next(iter(loader))["labels"]) for loader in (sized.train_loader, sized.val_loader)] == [6, 6]
    sizes = trainer.args.per_device_train_batch_size, trainer.args.per_device_eval_batch_size, trainer._train_batch_size
    assert sizes == (4, 8, 4)
    found = lrscout.find_batch_size(target, device="cpu", max=4, trial_steps=1, time_budget="1s")
    assert found.result.largest_fitting == 4


def test_a_trainer_that_makes_its_batches_itself_is_refused(tmp_path: Path) -> None:
    class Sampling(Trainer):
        def _prepare_inputs(self, inputs: Any) -> Any:
            return super()._prepare_inputs({**inputs, "labels": inputs["input_ids"]})

    with pytest.raises(TargetError, match="Sampling makes what it trains on in its own _prepare_inputs"):
        make_workload(make_trainer(tmp_path, Sampling))


def test_a_loss_that_no_trainer_can_call_is_refused(tmp_path: Path) -> None:
    class Old(Trainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False) -> Any:
            return model(**inputs).loss

    with pytest.raises(TargetError, match=r"Old\.compute_loss takes no num_items_in_batch"):
        make_workload(make_trainer(tmp_path, Old))


@pytest.mark.parametrize("length", [{"max_steps": 7}, {"max_steps": -1, "num_train_epochs": 1.5}])
def test_the_rate_is_for_the_training_that_the_arguments_ask_for(length: dict[str, Any], tmp_path: Path) -> None:
    given = {**length, "gradient_accumulation_steps": 3}
    trainer = make_trainer(tmp_path, **given)
    trainer.train()
    workload = make_workload(make_trainer(tmp_path, **given))
    assert workload.host.training_steps(len(workload.train_loader)) == trainer.state.max_steps


def on_ranks(folder: str, batch_size: int) -> Trainer:
    """Three epochs of 6 steps, with a warning."""
    more = {"neftune_noise_alpha": 5.0, "gradient_accumulation_steps": 2, "max_steps": -1, "num_train_epochs": 3}
    return make_trainer(Path(folder), per_device_train_batch_size=batch_size, **more)


@pytest.mark.skipif(sys.platform != "linux", reason="ranks are supervised on Linux")
def test_ranks_tell_of_a_trainer_what_one_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def found(batch_size: int, **more: Any) -> Any:
        given = {"kwargs": {"folder": str(tmp_path), "batch_size": batch_size}, "app_dir": str(HERE), "steps": 20}
        return lrscout.find_lr("test_transformers:on_ranks", **given, device="cpu", **more).record

    one, two = found(4), found(2, nproc=2)
    assert two.environment["own_settings"] == {"accumulate": 2, "clip_norm": 1.0}
    assert two.settings["horizon"] == one.settings["horizon"] == 18
    assert two.warnings == one.warnings
    assert len(two.warnings) == 2
    assert {**two.environment, "threads": 0} == {**one.environment, "threads": 0}


@pytest.mark.parametrize(
    "label", ["constant", "cosine", "linear:warmup=0.1", "constant:warmup=0.05", "cosine:warmup=40", "linear:warmup=40"]
)
def test_the_lines_of_a_schedule_are_arguments_that_the_trainer_takes(label: str, tmp_path: Path) -> None:
    best = RankedSchedule(label, label, {}, 1.0, FinalMetric(1.0, None, None, 1), None, "best", 0)
    metric = Metric("training loss", "min", held_out=False)
    result = CompareResult((best,), (), metric, label, True, 400, 400, 1, 1.0, 1.0)
    record = RunRecord("compare-schedulers", "ok", {}, {}, {"framework": "transformers"}, result)
    *_, line = schedule_lines(record)
    arguments = eval(f"TrainingArguments({str(tmp_path)!r}, use_cpu=True, max_steps=400, learning_rate=1.0, {line}\n)")
    trainer = Trainer(nn.Linear(1, 1), arguments)
    trainer.create_optimizer_and_scheduler(400)
    ours, theirs = parse_schedule(label), []
    for _ in range(400):
        theirs.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    # their warmup begins at 0, ours at the rate after a step
    assert theirs == pytest.approx([ours(step, 400) for step in range(400)], abs=0.06)


def test_a_trainer_without_data_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.train_dataset = None
    with pytest.raises(TargetError, match="no train_dataset"):
        make_workload(trainer)
