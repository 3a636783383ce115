"""A classifier whose labels are partly wrong, with so many samples in a step of all ranks; for torchrun too.

Every optimizer step takes the next samples, in the same order with any number of ranks.
"""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn

SAMPLES = 4096


def make_data():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 8, generator=generator)
    labels = (inputs[:, 0] + 0.7 * torch.randn(SAMPLES, generator=generator) > 0).long()
    return inputs, labels


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 2))


def make_optimizers(name, model, is_split):
    make = getattr(torch.optim, name)
    if is_split:
        return [make(model[0].parameters(), lr=0.05), make(model[2].parameters(), lr=0.05)]
    return [make(model.parameters(), lr=0.05)]


def spread(model, is_sharded):
    if is_sharded:
        from torch.distributed.fsdp import fully_shard

        for layer in (model[0], model[2], model):
            fully_shard(layer)
        return model
    return nn.parallel.DistributedDataParallel(model)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--optimizer", default="SGD")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--fail-at", type=int)
    parser.add_argument("--closure", action="store_true")
    parser.add_argument("--scaler", action="store_true")
    parser.add_argument("--split", action="store_true", help="into two optimizers")
    parser.add_argument("--shard", action="store_true", help="the weights, with FSDP2")
    args = parser.parse_args()
    rank, ranks = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    model, (inputs, labels) = make_model(), make_data()
    if ranks > 1:
        dist.init_process_group("gloo")
        model = spread(model, args.shard)
    optimizers = make_optimizers(args.optimizer, model, args.split)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=args.scaler)
    for step in range(args.steps):
        if step == args.fail_at:
            raise RuntimeError("the disk is full")
        own = torch.arange(step * args.batch_size, (step + 1) * args.batch_size)[rank::ranks] % SAMPLES

        def closure(own=own):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs[own]), labels[own])
            scaler.scale(loss).backward()
            return loss

        if args.closure:
            optimizers[0].step(closure)
            continue
        closure()
        for optimizer in optimizers:
            scaler.step(optimizer)
        scaler.update()


if __name__ == "__main__":
    main()
