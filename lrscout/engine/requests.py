"""What a search asks of those who run its trials, and what they tell of the target; free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lrscout.errors import UsageError
from lrscout.results import OwnSize


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at the target tells before any trial."""

    environment: dict[str, Any]
    dataset_size: int | None
    eval_dataset_size: int | None
    own: OwnSize | None
    available_bytes: int | None  # None: the device tells nothing of its memory
    longest: tuple[int | None, int | None]  # the longest sample of training and evaluation, where they differ
    source_digest: str  # of the files that define the target, its model and its data set


@dataclass(frozen=True, slots=True)
class EstimateRequest:
    """An estimate to make, with this sample for the longest."""

    longest: int | None


@dataclass(frozen=True, slots=True)
class Request:
    """A trial to run."""

    batch_size: int
    limit_bytes: int | None
    longest: int | None
    evaluates: bool = False


@dataclass(frozen=True, slots=True)
class ShapeEstimate:
    """What a step would take, told from shapes alone."""

    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    base_bytes: int  # of the line that the whole peak follows
    bytes_per_sample: int


def cannot_travel(error: Exception) -> UsageError:
    """Arguments of the target that another process cannot be given."""
    return UsageError(
        f"The target's arguments cannot be handed to another process: {error}.",
        hint="Define them in a module of their own, not in the script, or give isolate='never'.",
    )
