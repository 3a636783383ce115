"""What the real packages suggest on the suite's tasks, with their defaults.

Run in an environment of its own, which `make peers` makes:

    python peers.py [--module own_tasks] [--out own_peers.json] [--seeds 1 2 3]

pytorch-lightning's Tuner, torch-lr-finder's steepest point, and fastai's four rules on one fastai sweep. A package that
fails on a task, or has no answer, gets null. `optimizer_default` is the rate the optimizer comes with.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import json
import logging
import math
import os
import sys
import tempfile
import time
import warnings
from functools import partial
from pathlib import Path

import torch

SEEDS = (1, 2, 3)


def lightning(build, seed):
    """lr and steps of `Tuner.lr_find` with its defaults."""
    import pytorch_lightning as pl
    from pytorch_lightning.tuner import Tuner

    work = build(seed=seed)
    group = work["optimizer"].param_groups[0]

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.lr = work["model"], group["lr"]

        def training_step(self, batch, _):
            x, y = batch
            return work["loss_fn"](self.model(x), y)

        def configure_optimizers(self):
            for g in work["optimizer"].param_groups:
                g["lr"] = self.lr
            return work["optimizer"]

        def train_dataloader(self):
            return work["train_loader"]

    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    clip = getattr(build, "settings", {}).get("clip_norm")  # the other two have no flag for it
    trainer = pl.Trainer(max_epochs=50, accelerator="cpu", gradient_clip_val=clip, **quiet)
    found = Tuner(trainer).lr_find(Module())
    return (found.suggestion() if found is not None else None), (len(found.results["lr"]) if found else 0)


def torch_lr_finder(build, seed):
    """lr and steps of the steepest point over 100 steps from 1e-7 to 10, as its README does it."""
    from torch_lr_finder import LRFinder

    work = build(seed=seed)
    for group in work["optimizer"].param_groups:
        group["lr"] = 1e-7
    finder = LRFinder(work["model"], work["optimizer"], work["loss_fn"], device="cpu")
    finder.range_test(work["train_loader"], end_lr=10, num_iter=100)
    import matplotlib

    matplotlib.use("Agg")
    _, rate = finder.plot(suggest_lr=True)
    matplotlib.pyplot.close("all")
    return rate, len(finder.history["lr"])


def fastai(build, seed):
    """The lrs of valley, slide, minimum and steep, and the steps of fastai's sweep."""
    from fastai.callback.schedule import minimum, slide, steep, valley
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    work = build(seed=seed)
    kind = type(work["optimizer"])
    names = set(inspect.signature(kind).parameters) - {"params", "lr"}
    known = {name: value for name, value in work["optimizer"].defaults.items() if name in names}
    learner = Learner(
        DataLoaders(work["train_loader"], work["val_loader"]),
        work["model"],
        loss_func=work["loss_fn"],
        opt_func=partial(OptimWrapper, opt=kind, **known),
    )
    with learner.no_bar(), learner.no_logging():
        found = learner.lr_find(show_plot=False, suggest_funcs=(valley, slide, minimum, steep))
    return {name: float(getattr(found, name)) for name in ("valley", "slide", "minimum", "steep")}, len(
        learner.recorder.lrs
    )


def measure(build, seed):
    """One task's row: every peer's rate, steps and seconds."""
    row = {"optimizer_default": inspect.signature(type(build(seed=seed)["optimizer"])).parameters["lr"].default}
    for name, find in (("lightning", lightning), ("torch_lr_finder", torch_lr_finder), ("fastai", fastai)):
        torch.manual_seed(seed)
        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                found, steps = find(build, seed)
        except Exception as error:  # a peer's failure is a finding
            print(f"{build.__name__} {seed} {name}: {type(error).__name__}: {error}", file=sys.stderr)
            found, steps = ({} if name == "fastai" else None), 0
        if name == "fastai":
            row.update({f"fastai_{rule}": found.get(rule) for rule in ("valley", "slide", "minimum", "steep")})
        else:
            row[name] = found if found is not None and math.isfinite(found) else None
        row[f"{name}_seconds"], row[f"{name}_steps"] = time.perf_counter() - started, steps
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", default="own_tasks")
    parser.add_argument("--out", type=Path, default=Path("own_peers.json"))
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--only", nargs="*")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    out = arguments.out.resolve()
    found = json.loads(out.read_text()) if out.exists() else {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):  # Lightning leaves checkpoints about
        for build in importlib.import_module(arguments.module).TASKS:
            if arguments.only and build.__name__ not in arguments.only:
                continue
            found[build.__name__] = {str(seed): measure(build, seed) for seed in arguments.seeds}
            out.write_text(json.dumps(found, indent=1) + "\n")
            print(build.__name__, "done", flush=True)


if __name__ == "__main__":
    main()
