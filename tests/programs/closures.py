"""Optimizers that take a closure: LBFGS calls it many times a step, AdamW once, as under Lightning."""

import sys

import torch

torch.manual_seed(0)
x, y = torch.randn(64, 8), torch.randn(64, 1)
model = torch.nn.Linear(8, 1)
optimizer = getattr(torch.optim, sys.argv[1])(model.parameters(), lr=1e-3)


def closure():
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    return loss


for _ in range(1_000_000):
    optimizer.step(closure)
