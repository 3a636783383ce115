"""Lightning's batch-size finder on one of our targets, under the limit that our trials run under; prints JSON.

Runs in an environment of its own (`make peers-batch`), and so imports nothing of lrscout.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import re
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from models import data_of, model_of
from pytorch_lightning.tuner import Tuner
from torch import nn
from torch.utils.data import DataLoader

M_MMAP_THRESHOLD = -3


class Module(pl.LightningModule):
    def __init__(self, name: str, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.model, self.loss = model_of(name), nn.CrossEntropyLoss()
        self.data = data_of(
            name
        )  # once: Lightning asks for the loader again while it still holds what ran out of memory
        self.tried: list[int] = []

    def train_dataloader(self) -> Any:
        self.tried.append(self.batch_size)
        return DataLoader(self.data, self.batch_size, drop_last=True)

    def training_step(self, batch: Any, _: int) -> Any:
        return self.loss(self.model(batch[0]), batch[1])

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters())


def data_bytes() -> int:
    found = re.search(r"VmData:\s*([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def warm_up(name: str) -> None:
    """A step of the model: threads, and what libraries reserve and never touch, are there before the limit."""
    model, (inputs, target) = model_of(name), data_of(name)[:2]
    optimizer = torch.optim.AdamW(model.parameters())
    nn.functional.cross_entropy(model(inputs), target).backward()
    optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("limit", type=int, help="bytes")
    parser.add_argument("--mode", default="binsearch")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 65536)
    quiet: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    warm_up(given.name)
    held = data_bytes()  # the model and its data are within the limit, as in our trials
    module = Module(given.name, 2)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:  # an error leaves Lightning's checkpoint there
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, enable_checkpointing=False, default_root_dir=folder, **quiet
        )
        resource.setrlimit(resource.RLIMIT_DATA, (held + given.limit, resource.RLIM_INFINITY))
        try:
            answer = Tuner(trainer).scale_batch_size(module, mode=given.mode, steps_per_trial=3, init_val=2)
            error = None
        except Exception as caught:
            answer, error = None, f"{type(caught).__name__}: {caught}"
    seconds = time.perf_counter() - started
    print(json.dumps({"answer": answer, "seconds": seconds, "trials": len(module.tried), "error": error}))


if __name__ == "__main__":
    main()
