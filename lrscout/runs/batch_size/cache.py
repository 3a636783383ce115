"""Answers of earlier runs: --cache."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrscout.errors import RecordError
from lrscout.history import cache_folder
from lrscout.records import load, save
from lrscout.results import BatchSizeRecord

FROM_CACHE = "Reused the answer of an earlier run with the same source, settings, device and torch (--cache)."
MATTERS = ("torch", "device", "device_name", "threads", "platform")  # of the environment


class BatchSizeCache:
    """The record of an earlier search with the same source, target, settings, device and torch."""

    def __init__(
        self,
        source_digest: str,
        target: Mapping[str, Any],
        settings: Mapping[str, Any],
        environment: Mapping[str, Any],
        budget: int | None,
    ) -> None:
        known: list[Any] = [source_digest, target, settings, {name: environment.get(name) for name in MATTERS}]
        if settings.get("budget"):
            known.append(budget)  # without --budget it is whatever is free now
        key = hashlib.sha256(json.dumps(known, default=str, sort_keys=True).encode()).hexdigest()[:32]
        self._path: Path = cache_folder() / "batch-sizes" / f"{key}.json"

    def read(self) -> BatchSizeRecord | None:
        """The earlier record; None if there is none that can be read."""
        try:
            record = load(self._path)
        except RecordError:
            return None
        return dataclasses.replace(record, warnings=(*record.warnings, FROM_CACHE))

    def write(self, record: BatchSizeRecord) -> None:
        """Keep a complete answer for the next time.

        Raises:
            RecordError: the cache folder cannot be written to.
        """
        if record.status == "ok":
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RecordError(f"Cannot write to {self._path.parent}: {error.strerror or error}.") from error
            save(record, self._path)
