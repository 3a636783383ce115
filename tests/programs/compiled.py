"""A whole training step that is compiled, the optimizer's step with it."""

import sys

import torch
from torch import nn

torch.manual_seed(0)
x, y = torch.randn(32, 8), torch.randn(32, 1)
model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.01))  # a number would be compiled in


@torch.compile(backend=sys.argv[1])
def train_step(x, y):
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


for step in range(1_000_000):
    loss = train_step(x, y)
    if step % 1000 == 0:
        print(f"step {step} loss {loss.item():.4f}")
