"""The workloads in recipes/ train, honour their arguments and leave the seeding to the tool."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

RECIPES = Path(__file__).parent.parent / "recipes"
NAMES = ("char_gpt", "digits_cnn", "finetune", "tabular")

pytest.importorskip("sklearn")


@cache
def load_recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(name: str, *, torch_seed: int = 0, **kwargs: Any) -> dict[str, Any]:
    """A workload as the tool has it: built after seeding, with the default optimizer where it names none."""
    torch.manual_seed(torch_seed)
    workload = load_recipe(name).build(**kwargs)
    given = workload.get("optimizer", torch.optim.AdamW)
    if not isinstance(given, torch.optim.Optimizer):
        workload["optimizer"] = given(workload["model"].parameters())
    return workload


def batch_loss(workload: dict[str, Any], batch: list[Tensor]) -> Tensor:
    if "loss_fn" not in workload:
        return workload["model"](*batch)
    inputs, target = batch
    return workload["loss_fn"](workload["model"](inputs), target)


def held_out_loss(workload: dict[str, Any], *, batches: int = 8) -> float:
    """The mean loss of the first held-out batches."""
    workload["model"].eval()
    with torch.no_grad():
        losses = [batch_loss(workload, batch) for batch, _ in zip(workload["val_loader"], range(batches))]
    workload["model"].train()
    return torch.stack(losses).mean().item()


def train(workload: dict[str, Any], *, lr: float, steps: int) -> None:
    """Train at a constant rate; the largest group gets `lr` and the others keep their ratio to it."""
    groups = workload["optimizer"].param_groups
    scale = lr / max(group["lr"] for group in groups)
    for group in groups:
        group["lr"] *= scale
    for batch, _ in zip(endless(workload["train_loader"]), range(steps)):
        batch_loss(workload, batch).backward()
        workload["optimizer"].step()
        workload["optimizer"].zero_grad()


def endless(loader: Any) -> Iterator[list[Tensor]]:
    while True:
        yield from loader


def first_loss(workload: dict[str, Any]) -> float:
    return batch_loss(workload, next(iter(workload["train_loader"]))).item()


@pytest.mark.parametrize(
    ("name", "lr", "steps", "share"),
    [
        ("char_gpt", 3e-3, 60, 0.69),  # 0.72 is what the bare frequencies of the characters reach
        ("digits_cnn", 3e-3, 100, 0.25),
        ("finetune", 1e-2, 60, 0.3),
        ("tabular", 1e-2, 100, 0.4),
    ],
)
def test_training_lowers_the_held_out_loss_below_a_share_of_its_start(
    name: str, lr: float, steps: int, share: float
) -> None:
    workload = build(name)
    before = held_out_loss(workload)
    train(workload, lr=lr, steps=steps)
    after = held_out_loss(workload)
    assert after < share * before, f"{before:.3f} -> {after:.3f}"


@pytest.mark.parametrize("name", NAMES)
def test_same_torch_seed_gives_the_same_first_loss(name: str) -> None:
    assert first_loss(build(name, torch_seed=3)) == first_loss(build(name, torch_seed=3))


@pytest.mark.parametrize("name", NAMES)
def test_another_torch_seed_gives_another_first_loss(name: str) -> None:
    assert first_loss(build(name, torch_seed=3)) != first_loss(build(name, torch_seed=4))


@pytest.mark.parametrize("name", NAMES)
def test_held_out_data_is_the_same_for_every_torch_seed(name: str) -> None:
    one, other = (next(iter(build(name, torch_seed=seed)["val_loader"])) for seed in (3, 4))
    assert all(torch.equal(a, b) for a, b in zip(one, other))


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_sample_is_trained_on(name: str) -> None:
    workload = build(name)
    trained, held_out = (
        {tuple(sample.flatten().tolist()) for sample in workload[loader].dataset.tensors[0]}
        for loader in ("train_loader", "val_loader")
    )
    assert held_out
    assert not trained & held_out


@pytest.mark.parametrize("name", NAMES)
def test_every_training_batch_has_the_size_asked_for(name: str) -> None:
    loader = build(name, batch_size=24)["train_loader"]
    assert {len(inputs) for inputs, _ in loader} == {24}


@pytest.mark.parametrize("name", NAMES)
def test_optimizer_holds_every_trainable_parameter_once(name: str) -> None:
    workload = build(name)
    held = [p for group in workload["optimizer"].param_groups for p in group["params"]]
    trainable = [p for p in workload["model"].parameters() if p.requires_grad]
    assert sorted(map(id, held)) == sorted(map(id, trainable))


@pytest.mark.parametrize("name", NAMES)
def test_yaml_names_the_workload_beside_it_and_arguments_it_has(name: str) -> None:
    recipe = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    assert recipe["target"] == f"{name}.py:build"
    inspect.signature(load_recipe(name).build).bind(**recipe["kwargs"])


def test_gpt_starts_from_an_almost_uniform_guess() -> None:
    workload = build("char_gpt")
    vocabulary = workload["model"].head.out_features
    assert held_out_loss(workload) == pytest.approx(torch.tensor(vocabulary).log().item(), abs=0.1)


def test_gpt_does_not_look_at_later_characters() -> None:
    workload = build("char_gpt")
    inputs, _ = next(iter(workload["val_loader"]))
    changed = inputs.clone()
    changed[:, 40:] = (changed[:, 40:] + 1) % workload["model"].head.out_features
    logits: list[Tensor] = []
    workload["model"].head.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    for ids in (inputs, changed):
        workload["model"](ids, ids)
    torch.testing.assert_close(logits[0][:, :40], logits[1][:, :40])
    assert not torch.allclose(logits[0][:, 40:], logits[1][:, 40:])


def test_gpt_decays_matrices_only() -> None:
    decayed, spared = build("char_gpt")["optimizer"].param_groups
    assert decayed["weight_decay"] > 0
    assert {p.ndim for p in decayed["params"]} == {2}
    assert spared["weight_decay"] == 0
    assert {p.ndim for p in spared["params"]} == {1}


def test_table_is_standardised_by_its_training_part_only() -> None:
    workload = build("tabular")
    rows, held_out = (workload[name].dataset.tensors[0] for name in ("train_loader", "val_loader"))
    torch.testing.assert_close(rows.mean(0), torch.zeros(30), atol=1e-4, rtol=0)
    torch.testing.assert_close(rows.std(0), torch.ones(30), atol=1e-4, rtol=0)
    assert held_out.mean(0).abs().max() > 0.01


def test_discriminative_mode_trains_the_body_at_a_tenth_of_the_head() -> None:
    workload = build("finetune", mode="discriminative")
    body, head = workload["model"]
    rate_of = {id(p): group["lr"] for group in workload["optimizer"].param_groups for p in group["params"]}
    (body_lr,) = {rate_of[id(p)] for p in body.parameters()}
    (head_lr,) = {rate_of[id(p)] for p in head.parameters()}
    assert head_lr / body_lr == pytest.approx(10)


def test_full_mode_trains_everything_at_one_rate() -> None:
    (group,) = build("finetune", mode="full")["optimizer"].param_groups
    assert len(group["params"]) == 6  # three linear layers, weight and bias each


def trained_copies(mode: str, part: int) -> tuple[list[Tensor], list[Tensor]]:
    """The parameters of the body (part 0) or head (1) before and after a little fine-tuning."""
    workload = build("finetune", mode=mode)
    module: nn.Module = workload["model"][part]
    before = [p.detach().clone() for p in module.parameters()]
    train(workload, lr=1e-2, steps=10)
    return before, list(module.parameters())


def test_frozen_mode_leaves_the_body_as_it_was() -> None:
    assert all(torch.equal(a, b) for a, b in zip(*trained_copies("frozen", 0)))


@pytest.mark.parametrize(("mode", "part"), [("frozen", 1), ("discriminative", 0), ("full", 0)])
def test_what_is_not_frozen_changes(mode: str, part: int) -> None:
    assert not any(torch.equal(a, b) for a, b in zip(*trained_copies(mode, part)))


def test_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'forzen'; choose one of discriminative, frozen, full"):
        build("finetune", mode="forzen")


def test_pretrained_body_helps() -> None:
    """After the same fine-tuning of the head, the trained body beats one with new weights."""

    def loss_with_frozen_body(*, forget: bool) -> float:
        workload = build("finetune", mode="frozen")
        if forget:
            for layer in (workload["model"][0][0], workload["model"][0][2]):
                layer.reset_parameters()
        train(workload, lr=1e-2, steps=40)
        return held_out_loss(workload)

    assert loss_with_frozen_body(forget=False) < loss_with_frozen_body(forget=True)


def test_gan_brings_its_images_closer_to_held_out_ones() -> None:
    torch.manual_seed(0)
    workload = load_recipe("gan_digits").build()
    held_out = next(iter(workload["val_loader"]))
    before = workload["val_step"](held_out).item()
    for group in (group for optimizer in workload["optimizer"].values() for group in optimizer.param_groups):
        group["lr"] *= 0.2  # what find-lr suggests for both
    for batch, _ in zip(endless(workload["train_loader"]), range(100)):
        for name, loss in workload["step"](batch).items():
            own = list(workload["model"][name].parameters())
            loss.backward(inputs=own)
        for optimizer in workload["optimizer"].values():
            optimizer.step()
            optimizer.zero_grad()
    assert workload["val_step"](held_out).item() < 0.7 * before


def test_gan_yaml_names_its_workload() -> None:
    recipe = yaml.safe_load((RECIPES / "gan_digits.yaml").read_text(encoding="utf-8"))
    assert recipe["target"] == "gan_digits.py:build"
    inspect.signature(load_recipe("gan_digits").build).bind(**recipe["kwargs"])
