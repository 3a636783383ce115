"""A loop that survives every error of a step, and even an exit, as long-running jobs on clusters do."""

import sys

import torch

exceptions = BaseException if "--all" in sys.argv else Exception
weight = torch.nn.Parameter(torch.ones(4))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(1_000_000):
    try:
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
    except exceptions as error:
        print("skipped a step:", error)
