"""A LightningModule as in the documentation: accumulation, clipping, mixed precision, and a schedule per step."""

import argparse

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Regression(pl.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 1))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.mse_loss(self.net(x), y)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.net(x), y), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.hparams.lr, total_steps=self.trainer.estimated_stepping_batches
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=100_000)
    parser.add_argument("--root")
    args = parser.parse_args()

    pl.seed_everything(0, workers=True)
    # the same 16 samples over and over, so that the losses of two sweeps can be compared
    data = TensorDataset(torch.randn(16, 8).repeat(16, 1), torch.randn(16, 1).repeat(16, 1))
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        default_root_dir=args.root,
        accelerator="cpu",
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        precision="bf16-mixed",
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
    )
    trainer.fit(Regression(), DataLoader(data, batch_size=16), DataLoader(data, batch_size=64))


if __name__ == "__main__":
    main()
