"""A target on the nodes of a Ray cluster: what travels there, and who performs requests on it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lrscout.errors import UsageError
from lrscout.processes.messages import H
from lrscout.processes.ray_cluster import Needs, RayCluster
from lrscout.processes.ray_engine import RayExecutor
from lrscout.results import CommandTarget, Target
from lrscout.settings import EngineSettings

ATTEMPTS = 4  # at a request whose process or node is lost: nodes that come and go take several from one run


class RayEngine:
    """A cluster, and a target as its nodes know it.

    On a cluster of this machine, requests are performed in the folder that lrscout was started in. On any other, the
    nodes get a copy of it, or of the folder that the target is in, if that is elsewhere.

    Raises:
        UsageError: there is no such cluster, or no Ray.
    """

    def __init__(self, target: Target | CommandTarget, settings: EngineSettings) -> None:
        self.target, self._settings, folder = target, settings, os.getcwd()
        self._folder: str | None = folder
        if settings.ray_address is not None:
            folder, self.target = carried(target)
            self._folder = None
        self.cluster = RayCluster(settings.ray_address, folder)

    def executor(self, make: Callable[..., H], settings: Any) -> RayExecutor[H]:
        """One whose hosts are made by `make(place, target, settings)`; closing it closes the cluster."""
        try:
            needs = Needs(self._settings.cpus_per_run, self._settings.gpus_per_run)
            made_of = (self.target, settings)
            return RayExecutor(self.cluster, make, made_of, needs, folder=self._folder, attempts=ATTEMPTS)
        except BaseException:
            self.cluster.close()
            raise


def carried(target: Target | CommandTarget) -> tuple[str, Target | CommandTarget]:
    """A folder that holds a target, and the target as it is called in a copy of that folder.

    Raises:
        UsageError: there is no such folder.
    """
    if isinstance(target, CommandTarget):
        return target.cwd, dataclasses.replace(target, cwd=os.curdir)
    module, colon, attribute = (target.path or "").rpartition(":")
    app, folder = Path(target.app_dir or os.curdir).resolve(), Path.cwd()
    needed = Path(module).expanduser().resolve() if module.endswith(".py") else app
    if not needed.is_relative_to(folder):
        folder = needed if needed == app else _outside_package(needed.parent)
    if not folder.is_dir():
        raise UsageError(f"The folder {str(folder)!r} does not exist.", hint="Check the target and --app-dir.")
    path = f"{needed.relative_to(folder)}{colon}{attribute}" if module.endswith(".py") else target.path
    inside = str(app.relative_to(folder)) if app.is_relative_to(folder) else os.curdir
    return str(folder), dataclasses.replace(target, path=path, app_dir=inside)


def _outside_package(folder: Path) -> Path:
    """The folder to import from, where this one may belong to a package."""
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder
