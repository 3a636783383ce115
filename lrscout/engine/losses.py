"""The loss of a batch: which part of a workload computes it, and what is wrong where it is not a scalar tensor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lrscout.engine.batches import samples_a_pass
from lrscout.engine.optimizers import Optimizers
from lrscout.engine.workload import Workload
from lrscout.errors import TargetError, WorkloadError, summary

NO_LOSS_FN = (
    "The target has no loss_fn, so lrscout passed the whole batch to the model: model(*batch), or model(**batch) for a "
    "mapping. If the model does not compute its own loss, add a loss_fn or a step(model, batch) to the target."
)

ONE_VALUE = "Expected more than 1 value per channel when training"  # how torch.nn.functional.batch_norm refuses

TWICE = "Trying to backward through the graph a second time"

MOST_KEYS = 5  # of a dict, in a hint
LossOf = Callable[[Any], Any]
Losses = Mapping[str, Tensor]
"""The loss of each optimizer by its name, or under "" the one that all of them share."""


def loss_of(workload: Workload) -> LossOf:
    """The function of a workload that computes the loss of a batch; `scalar` checks its result.

    Raises:
        TargetError: `step` accepts neither (batch) nor (model, batch).
    """
    compute = _loss_of(workload)

    def explained(batch: Any) -> Any:
        try:
            return compute(batch)
        except ValueError as error:
            told = _one_sample(workload.train_loader)
            if ONE_VALUE in summary(error) and told not in getattr(error, "__notes__", ()):  # ranks call twice
                error.add_note(told)
            raise

    return explained


def val_loss_of(workload: Workload) -> LossOf:
    """The function of a workload that computes the loss of a batch of held-out data.

    Raises:
        TargetError: `val_step` accepts neither (batch) nor (model, batch).
    """
    if workload.val_step is not None:
        return _called_with(workload.model, workload.val_step, "val_step")
    return _untold if workload.manual else loss_of(workload)


def _untold(batch: Any) -> Any:
    raise WorkloadError(
        "There is no loss of held-out data: the target's step is manual, so it would train on them.",
        hint="Give the target a val_step(batch) that returns their loss, or leave out its val_loader.",
    )


def losses_in(computed: Any, optimizers: Optimizers) -> Losses:
    """Check what a step returned: one loss, or a mapping with one for each of several optimizers.

    Raises:
        WorkloadError: it is neither.
    """
    if isinstance(computed, Tensor) or not isinstance(computed, Mapping) or not optimizers.are_named:
        return {"": scalar(computed)}
    if set(computed) != set(optimizers.all):
        given, names = (", ".join(map(repr, each)) or "none" for each in (computed, optimizers.all))
        raise WorkloadError(
            f"The step returned losses for {given}, but the optimizers are {names}.",
            hint="Return one loss for each optimizer, under its name. A step that trains only some of them at a time"
            " calls backward and steps them itself, with manual=True.",
        )
    return {name: scalar(computed[name], f"loss of {name!r}") for name in optimizers.all}


def total_of(losses: Losses, driven: Sequence[str]) -> Tensor:
    """The loss that counts: the sum, or that of the only optimizer whose rate is set."""
    if len(losses) == 1:
        return next(iter(losses.values()))
    return losses[driven[0]] if len(driven) == 1 else torch.stack([*losses.values()]).sum()


def backward(losses: Losses, optimizers: Mapping[str, Optimizer]) -> None:
    """Compute the gradients of the loss; of several, each reaches the parameters of its own optimizer alone."""
    try:
        if "" in losses:
            losses[""].backward()  # type: ignore[no-untyped-call]
            return
        for place, (name, loss) in enumerate(losses.items(), 1):
            own = [p for group in optimizers[name].param_groups for p in group["params"] if p.requires_grad]
            loss.backward(inputs=own, retain_graph=place < len(losses))  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if TWICE in summary(error):
            error.add_note(KEPT_STATE)
        raise


KEPT_STATE = (
    "The step seems to keep a tensor from one batch to the next, such as a hidden state, together with its graph. Keep"
    " it detached: self.state = state.detach(). To train through several batches, let one batch of the loader hold all"
    " of them."
)


def _one_sample(loader: Any) -> str:
    """What to do about a batch of one sample in front of a batch norm."""
    samples, size = samples_a_pass(loader), getattr(loader, "batch_size", None)
    left = f": {samples} samples in batches of {size} leave 1" if samples and size and samples % size == 1 else ""
    return (
        f"A batch norm cannot train on a batch of one sample{left}. Give the train_loader drop_last=True, or another"
        " batch size."
    )


def _loss_of(workload: Workload) -> LossOf:
    model, loss_fn, step = workload.model, workload.loss_fn, workload.step
    if step is not None:
        return _called_with(model, step, "step")
    if loss_fn is not None:
        return lambda batch: loss_fn(*_predict(model, batch))
    return lambda batch: _own_loss(_forward(model, batch))


def _called_with(model: nn.Module, step: Callable[..., Any], name: str) -> LossOf:
    return (lambda batch: step(model, batch)) if _takes_model(step, name) else step


def _takes_model(step: Callable[..., Any], name: str) -> bool:
    try:
        signature = inspect.signature(step)
    except (TypeError, ValueError):
        return False
    for arguments, takes_model in (((0,), False), ((0, 0), True)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return takes_model
    raise TargetError(f"{name}{signature} must accept (batch) or (model, batch).")


def _predict(model: nn.Module, batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, Sequence) or isinstance(batch, str) or len(batch) != 2:
        length = f" of length {len(batch)}" if isinstance(batch, (Sequence, Mapping)) else ""
        raise WorkloadError(
            f"With loss_fn, a batch must be (inputs, target), but the loader yielded {type(batch).__name__!r}{length}.",
            hint="For other batches, use step(model, batch) -> loss instead.",
        )
    inputs, target = batch
    return _call(model, inputs), target


def _call(model: nn.Module, inputs: Any) -> Any:
    if isinstance(inputs, Tensor):  # first, because it is the most common and the check for Mapping is slow
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    # a packed sequence is a tuple, too, but moves to a device by itself: it is one input
    if isinstance(inputs, (tuple, list)) and not hasattr(inputs, "to"):
        return model(*inputs)
    return model(inputs)


def _forward(model: nn.Module, batch: Any) -> Any:
    try:
        return _call(model, batch)
    except TypeError as error:
        error.add_note(NO_LOSS_FN)  # the most common mistake is a missing loss_fn, which torch's message cannot explain
        raise


def _own_loss(output: Any) -> Tensor:
    loss = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", output)
    if not isinstance(loss, Tensor):
        raise WorkloadError(
            f"The target has no loss_fn, and the model returned {type(output).__name__!r} without a loss.",
            hint='Add a loss_fn, let the model return a scalar tensor or an object with .loss or ["loss"], or define '
            + f"step(model, batch) to return the loss{_where_it_may_be(output)}.",
        )
    return loss


def _where_it_may_be(output: Any) -> str:
    """The scalars among the parts of a tuple, as a model that returns (logits, loss) has one."""
    if not isinstance(output, (tuple, list)):
        return ""
    scalars = [index for index, part in enumerate(output) if isinstance(part, Tensor) and part.numel() == 1]
    return f", such as part [{scalars[0]}] of what the model returns" if len(scalars) == 1 else ""


def scalar(loss: Any, name: str = "loss") -> Tensor:
    """Check the loss that user code returned, and return it as a tensor of shape (); errors call it `name`.

    Raises:
        WorkloadError: it is not a tensor, does not have exactly one element, or is complex or sparse.
    """
    if not isinstance(loss, Tensor):
        raise WorkloadError(
            f"The {name} must be a tensor, not {type(loss).__name__!r}.",
            hint=_instead_of(loss, name),
        )
    if loss.numel() != 1:
        raise WorkloadError(
            f"The {name} must be a scalar, but has shape {tuple(loss.shape)}.",
            hint="Reduce it, for example with .mean() or reduction='mean'.",
        )
    if loss.is_complex():
        raise WorkloadError(f"The {name} must be real, not complex.", hint="Return a real value, such as .abs().")
    if loss.layout is not torch.strided:
        raise WorkloadError(f"The {name} must be dense, not {loss.layout}.", hint="Return its .to_dense().")
    return loss.reshape(()) if loss.dim() else loss


def detached_loss(loss: Tensor) -> WorkloadError:
    """The error about a loss from which no gradient flows, with what may have cut it off."""
    hint = "Check for .detach(), torch.no_grad() or a frozen model."
    if not torch.is_grad_enabled():
        hint = (
            "The target has switched gradients off: look for torch.set_grad_enabled(False) or torch.inference_mode()."
        )
    elif not loss.is_floating_point():
        hint = f"It is of type {loss.dtype}, which has no gradients: return it before it is rounded or compared."
    return WorkloadError("The loss does not depend on any parameter that requires grad.", hint=hint)


def _instead_of(loss: Any, name: str) -> str:
    """What to return instead of something that is not a tensor."""
    if loss is None:
        return "Is a return statement missing?"
    if isinstance(loss, Mapping):
        keys = [repr(key) for key in loss]
        shown = ", ".join(keys[:MOST_KEYS]) + (", ..." if len(keys) > MOST_KEYS else "")
        tensors = [key for key, value in loss.items() if isinstance(value, Tensor)]
        which = repr(name if name in loss else next(iter(tensors), name))
        return f"It has the keys {shown}: return the tensor, for example {name}[{which}], or define step(model, batch)."
    if isinstance(loss, (tuple, list)):
        return f"It has {len(loss)} parts: return the tensor among them, or define step(model, batch)."
    return "Return the tensor itself, not its .item()."
