"""What earlier tunings left, for --resume."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lrscout.errors import RecordError, UsageError
from lrscout.history import cached_records
from lrscout.records import load
from lrscout.results import CommandTarget, RunRecord, Target, TunedStage


def earlier_stages(
    target: Target | CommandTarget, output: Path | None, settings_file: Path | None
) -> dict[tuple[str, ...], TunedStage]:
    """The stages of the last tuning of this target whose records are still there, by what they were started with.

    The record of `output` comes before those of the cache. A stage that is older than the file of its settings does
    not count.

    Raises:
        UsageError: there is none.
    """
    wanted = json.loads(json.dumps(target.as_dict()))
    changed = 0.0 if settings_file is None else settings_file.stat().st_mtime

    def is_there(stage: TunedStage) -> bool:
        path = Path(stage.record or "")
        return stage.record is not None and loaded(path) is not None and path.stat().st_mtime > changed

    for path in [*([] if output is None else [output]), *cached_records("tune")]:
        record = loaded(path)
        if record is None or record.result is None or record.target != wanted:
            continue
        stages: tuple[TunedStage, ...] = record.result.stages
        return {stage.arguments: stage for stage in stages if is_there(stage)}
    raise UsageError("No tuning of this target found to resume.", hint="Leave out --resume.")


def loaded(path: Path) -> RunRecord[Any] | None:
    """The record of a file, or None if there is none that can be read."""
    try:
        return load(path)
    except RecordError:
        return None
