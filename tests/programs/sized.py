"""About 300 KiB of activations a sample, with a batch size that can be capped or refused; for torchrun too."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, required=True)
parser.add_argument("--cap", type=int, default=10**9)
parser.add_argument("--refuse", type=int, default=10**9)
parser.add_argument("--steps", type=int, default=10**9)
parser.add_argument("--accumulate", type=int, default=1)
parser.add_argument("--greedy-rank", type=int, help="a rank that takes three times as much memory")
parser.add_argument("--is-global", action="store_true", help="--batch-size is that of all ranks together")
args = parser.parse_args()
if args.batch_size > args.refuse:
    raise ValueError(f"the batch size may be {args.refuse} at most")

rank = int(os.environ.get("RANK", 0))
if "RANK" in os.environ:
    dist.init_process_group("gloo")
    if args.is_global:
        args.batch_size //= dist.get_world_size()


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.widen = nn.Linear(64, 8192)
        self.narrow = nn.Linear(8192, 2)

    def forward(self, inputs, repeats):
        hidden = self.widen(inputs)
        for _ in range(4 * repeats):
            hidden = torch.tanh(hidden) + 0.1
        return self.narrow(hidden)


torch.manual_seed(0)
model = Wide()
if "RANK" in os.environ:
    model = nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
repeats = 3 if rank == args.greedy_rank else 1
size = min(args.batch_size, args.cap)
for _ in range(args.steps):
    optimizer.zero_grad()
    for _ in range(args.accumulate):
        inputs, labels = torch.zeros(size, 64), torch.zeros(size, dtype=torch.long)
        (nn.functional.cross_entropy(model(inputs, repeats=repeats), labels) / args.accumulate).backward()
    optimizer.step()
