"""Objects of frameworks are known without an import of a framework that the target does not use."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lrscout.engine.host import NO_HOST
from lrscout.engine.workload import is_lightning, make_workload

HEAVY = ("lightning", "pytorch_lightning", "transformers", "accelerate", "lrscout.engine.adapters")


def test_a_plain_target_imports_no_framework() -> None:
    code = (
        "import sys, torch, lrscout\n"
        "model = torch.nn.Linear(2, 1)\n"
        "batches = [(torch.randn(4, 2), torch.randn(4, 1))]\n"
        "for optimizer in (None, [torch.optim.SGD(model.parameters(), 0.1)]):\n"
        "    lrscout.find_lr({'model': model, 'train_loader': batches, 'loss_fn': torch.nn.MSELoss(),\n"
        "        'optimizer': optimizer}, device='cpu', max_steps=150)\n"
        f"print([name for name in sys.modules if name.startswith({HEAVY!r})])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("name", ["pytorch_lightning", "lightning.pytorch"])
def test_an_object_is_of_a_framework_only_if_that_has_been_imported(name: str, monkeypatch: Any) -> None:
    class LightningModule(nn.Module):
        pass

    for each in ("pytorch_lightning", "lightning.pytorch"):
        monkeypatch.delitem(sys.modules, each, raising=False)
    module = LightningModule()
    assert not is_lightning(module)
    framework = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, framework)
    assert not is_lightning(module)  # half imported: it has no such class yet
    framework.LightningModule = LightningModule  # type: ignore[attr-defined]
    assert is_lightning(module)
    assert not is_lightning(nn.Linear(1, 1))


def test_a_plain_workload_has_no_host() -> None:
    workload = make_workload((nn.Linear(1, 1), [torch.ones(1, 1)]))
    assert workload.host is NO_HOST
    assert make_workload(workload) is workload
