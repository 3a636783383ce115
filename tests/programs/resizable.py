"""Learns from batches of any size, for as many steps as it is told."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, required=True)
parser.add_argument("--steps", type=int, default=10**9)
args = parser.parse_args()

torch.manual_seed(0)
x = torch.randn(64, 6)
y = (x.sum(1) > 0).long()
model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(args.steps):
    chosen = torch.randint(64, (args.batch_size,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x[chosen]), y[chosen]).backward()
    optimizer.step()
