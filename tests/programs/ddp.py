"""Data parallel on the CPU, for torchrun. Every rank has its own half of the data."""

import os
import sys
import time

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
x, y = torch.randn(2, 32, 8), torch.randn(2, 32, 1)
model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

for step in range(1_000_000):
    loss = nn.functional.mse_loss(model(x[rank]), y[rank])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if "--slow" in sys.argv and rank == 1:
        time.sleep(0.05)
    if "--pids" in sys.argv and step == 0:
        os.write(1, f"rank {rank} is {os.getpid()}\n".encode())  # in one piece, unlike print where nothing is buffered
dist.destroy_process_group()
