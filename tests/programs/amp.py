"""Mixed precision with a GradScaler and four micro-batches a step, as on a GPU, but on the CPU."""

import torch
from torch import nn

ACCUMULATE = 4

torch.manual_seed(0)
x, y = torch.randn(4, 16, 8), torch.randn(4, 16, 1)
model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

for _ in range(1_000_000):
    for micro in range(ACCUMULATE):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.mse_loss(model(x[micro]), y[micro]) / ACCUMULATE
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
