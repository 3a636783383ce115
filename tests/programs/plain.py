"""A plain loop with argparse and a cosine schedule. Every batch is the whole data set, so losses can be compared."""

import argparse
import os

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=100_000)
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--die-at", type=int)
args = parser.parse_args()

torch.manual_seed(args.seed)
x, y = torch.randn(64, 8), torch.randn(64, 1)
model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 1))
body, head = model[:2].parameters(), model[3].parameters()
optimizer = torch.optim.AdamW([{"params": body, "lr": args.lr / 10}, {"params": head, "name": "head"}], lr=args.lr)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)

for epoch in range(args.epochs):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    scheduler.step()
    if epoch == args.die_at:
        raise RuntimeError("the disk is full")
    if epoch % 1000 == 0:
        print(f"epoch {epoch} loss {loss.item():.4f}")
print("done in", os.getpid())
