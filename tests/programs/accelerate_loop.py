"""A loop with Accelerate as in its documentation: `accelerate launch accelerate_loop.py`."""

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    accelerator = Accelerator(gradient_accumulation_steps=2)
    set_seed(0)
    # the same 16 samples over and over, so that the losses of two sweeps can be compared
    data = TensorDataset(torch.randn(16, 8).repeat(16, 1), torch.randn(16, 1).repeat(16, 1))
    model = nn.Sequential(nn.Linear(8, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=1000)
    model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, DataLoader(data, 16), scheduler)

    for epoch in range(100_000):
        model.train()
        for x, y in loader:
            with accelerator.accumulate(model):
                loss = nn.functional.mse_loss(model(x), y)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
        if epoch % 1000 == 0:
            accelerator.print(f"epoch {epoch} loss {loss.item():.4f}")


if __name__ == "__main__":
    main()
