"""LightningModules of all forms, with the plain training that each must equal."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

DATA = torch.randn(96, 4, generator=torch.Generator().manual_seed(1))
TARGETS = DATA.sum(1, keepdim=True).sin()


def loader(batch_size: int = 8, held_out: bool = False) -> DataLoader[Any]:
    part = slice(64, None) if held_out else slice(0, 64)
    return DataLoader(TensorDataset(DATA[part], TARGETS[part]), batch_size)


def network() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))


class Regression(pl.LightningModule):
    """What most modules look like."""

    def __init__(self, lr: float = 0.05, batch_size: int = 8, form: str = "one") -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = network()
        self.seen: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        inputs, targets = batch
        loss = nn.functional.mse_loss(self.net(inputs), targets)
        self.log("train_loss", loss, prog_bar=True, on_step=True)
        self.log_dict({"epoch": float(self.current_epoch), "batch": batch_idx})
        self.print("step", self.trainer.global_step)
        return {"loss": loss} if self.hparams.form == "dict" else loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        inputs, targets = batch
        self.log("val_loss", nn.functional.l1_loss(self.net(inputs), targets))

    def train_dataloader(self) -> Any:
        return loader(self.hparams.batch_size)

    def val_dataloader(self) -> Any:
        return [loader(16, held_out=True)]

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        return {
            "one": optimizer,
            "dict": {"optimizer": optimizer},
            "list": [optimizer],
            "two lists": ([optimizer], [constant]),
            "lists of dicts": ([optimizer], [{"scheduler": constant, "interval": "step"}]),
            "with scheduler": {"optimizer": optimizer, "lr_scheduler": {"scheduler": constant, "interval": "step"}},
            "tuple of dicts": ({"optimizer": optimizer, "lr_scheduler": constant},),
        }[self.hparams.form]


FORMS = ("one", "dict", "list", "two lists", "lists of dicts", "with scheduler", "tuple of dicts")


class Hooked(Regression):
    """Uses the hooks around a step: what each does shows in the weights."""

    def on_train_start(self) -> None:
        self.seen.append("start")

    def on_train_epoch_start(self) -> None:
        self.seen.append(f"epoch {self.current_epoch}")

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch[0] * 1.1, batch[1]

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        for parameter in self.parameters():
            parameter.grad.mul_(0.5)

    def on_after_backward(self) -> None:
        for parameter in self.parameters():
            parameter.grad.sign_()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        with torch.no_grad():
            self.net[0].weight.mul_(0.99)


class Gan(pl.LightningModule):
    """Manual optimization of two optimizers, as in Lightning's own examples."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        torch.manual_seed(6)
        self.generator, self.critic = nn.Linear(4, 4), nn.Linear(4, 1)

    def training_step(self, batch: Any) -> None:
        real, _ = batch
        of_generator, of_critic = self.optimizers()
        self.toggle_optimizer(of_generator)
        g_loss = self.critic(self.generator(real.flip(0))).square().mean()
        of_generator.zero_grad()
        self.manual_backward(g_loss)
        of_generator.step()
        self.untoggle_optimizer(of_generator)
        self.toggle_optimizer(of_critic)
        c_loss = (self.critic(real) - 1).square().mean() + self.critic(self.generator(real).detach()).square().mean()
        of_critic.zero_grad()
        self.manual_backward(c_loss)
        self.clip_gradients(of_critic, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        of_critic.step()
        self.untoggle_optimizer(of_critic)
        self.log_dict({"g_loss": g_loss, "c_loss": c_loss}, prog_bar=True)
        scheduler = self.lr_schedulers()
        if scheduler is not None and not isinstance(scheduler, list):
            scheduler.step()

    def train_dataloader(self) -> Any:
        return loader()

    def configure_optimizers(self) -> Any:
        return [torch.optim.Adam(part.parameters(), lr=0.01) for part in (self.generator, self.critic)]


class Data(pl.LightningDataModule):
    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.ready: list[str] = []

    def prepare_data(self) -> None:
        self.ready.append("prepared")

    def setup(self, stage: str) -> None:
        self.ready.append(stage)

    def train_dataloader(self) -> Any:
        return loader(self.batch_size)

    def val_dataloader(self) -> Any:
        return loader(self.batch_size, held_out=True)
