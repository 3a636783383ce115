"""What earlier tunings left, for --resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lrscout.errors import RecordError, UsageError
from lrscout.history import cached_records
from lrscout.records import load
from lrscout.results import CommandTarget, RunRecord, Target, TunedStage


def earlier_stages(target: Target | CommandTarget) -> dict[tuple[str, ...], TunedStage]:
    """The stages of the last tuning of this target whose records are still there, by what they were started with."""
    wanted = json.loads(json.dumps(target.as_dict()))
    for path in cached_records("tune"):
        record = loaded(path)
        if record is None or record.result is None or record.target != wanted:
            continue
        stages: tuple[TunedStage, ...] = record.result.stages
        return {stage.arguments: stage for stage in stages if stage.record and loaded(Path(stage.record)) is not None}
    raise UsageError("No tuning of this target found to resume.", hint="Leave out --resume.")


def loaded(path: Path) -> RunRecord[Any] | None:
    """The record of a file, or None if there is none that can be read."""
    try:
        return load(path)
    except RecordError:
        return None
