"""Trains until it is interrupted, and then saves its state, as many programs do; with --ignore, it does not care."""

import signal
import sys

import torch

if "--ignore" in sys.argv:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

w = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.SGD([w], lr=0.1)
steps = 0
try:
    while True:
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
        steps += 1
        if steps == 20:
            print("training", flush=True)
except KeyboardInterrupt:
    print("saved after", "some" if steps >= 20 else "no", "steps", flush=True)
