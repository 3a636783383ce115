"""The environment of a training command: what gets lrscout into it, and what it must not do meanwhile."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import lrscout
from lrscout.processes.listener import Listener

SITE = Path(lrscout.__file__).parent / "attached" / "site"
LOGGERS_OFF = {  # found in their sources, and tried; trackio and aim have no such variable, and write to local files
    "WANDB_MODE": "disabled",  # wandb/sdk/wandb_init.py: make_disabled_run
    "COMET_AUTO_LOG_DISABLE": "1",  # comet_ml/_online.py; offline experiments too, which COMET_START_ONLINE leaves on
    "NEPTUNE_MODE": "debug",  # neptune/types/mode.py, which does not know "disabled"; neptune_scale takes either
    "CLEARML_OFFLINE_MODE": "1",  # clearml/backend_api/session/defs.py; writes some kilobytes to ~/.clearml
    "SWANLAB_MODE": "disabled",  # swanlab/sdk/internal/settings
    "DVCLIVE_TEST": "true",  # dvclive/live.py: writes to a temporary folder; else it deletes the files of the last run
    "DISABLE_MLFLOW_INTEGRATION": "TRUE",  # transformers/integrations/integration_utils.py
    "MLFLOW_ALLOW_FILE_STORE": "true",  # mlflow/store/tracking/file_store.py raises without it in 3.14
}


def launch_environment(
    listener: Listener,
    token: str,
    cwd: str | os.PathLike[str],
    more: Mapping[str, str] | None = None,
    *,
    keep: bool,
    since: float | None = None,
    measured: tuple[str, int | None] | None = None,
) -> dict[str, str]:
    """This process's environment with `more`; loggers that upload are off unless they are to `keep` on.

    Files from before `since`, in seconds since the epoch, are kept before they are overwritten or removed.
    `measured` is a type of device and a limit on its memory in bytes.
    """
    environment = {
        "PYTHONUNBUFFERED": "1",  # else its lines come late, and the last ones never
        **os.environ,
        **({} if keep else {**LOGGERS_OFF, "MLFLOW_TRACKING_URI": (listener.folder / "mlflow").as_uri()}),
        **(more or {}),
        "LRSCOUT_ATTACH_ADDRESS": listener.address,
        "LRSCOUT_ATTACH_FOLDER": str(listener.folder),
        "LRSCOUT_ATTACH_TOKEN": token,
    }
    if since is not None:
        environment["LRSCOUT_ATTACH_PROTECT"] = str(listener.folder)
        environment |= {"LRSCOUT_ATTACH_HOME": os.path.abspath(cwd), "LRSCOUT_ATTACH_SINCE": repr(since)}
    if measured is not None:
        kind, limit = measured
        environment["LRSCOUT_ATTACH_MEASURED"] = f"{kind}:{'' if limit is None else limit}"
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(SITE), environment.get("PYTHONPATH"))))
    return environment
