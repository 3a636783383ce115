"""What a step costs inside an attached program: against the bare program, alternating, the steps timed by itself.

The program is a small network whose steps take about as long as asked for; each process times its own loop.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys

from lrscout.processes.command import AttachedCommand

WARM = 200  # steps before the clock is started
PROGRAM = """
import sys, time, torch
steps, warm, width = map(int, sys.argv[1:])
x, y = torch.randn(64, width), torch.randn(64, 1)
model = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
for step in range(steps):
    if step == warm:
        began = time.perf_counter()
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
print("seconds", (time.perf_counter() - began) / (steps - warm), flush=True)
"""


def bare(argv: list[str]) -> float:
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()[-1])


def attached(argv: list[str], steps: int) -> float:
    with AttachedCommand(argv) as command:
        command.attach()
        session = command.session()
        for _ in range(steps):
            session.step(1e-6)
            session.losses()
        session.losses(wait=True)
        session.step()  # lets go of the program, which then says how long it took
    return float(command.output[-1].split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=448, help="448: about 1 ms a step on one core")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    argv = [sys.executable, "-c", PROGRAM, str(arguments.steps), str(WARM), str(arguments.width)]
    pairs = [(bare(argv), attached(argv, arguments.steps)) for _ in range(arguments.rounds)]
    figures = {
        "microseconds_per_bare_step": statistics.median(base for base, _ in pairs) * 1e6,
        "ratio": statistics.median(ours / base for base, ours in pairs),
        "ratio_of_the_fastest": min(ours for _, ours in pairs) / min(base for base, _ in pairs),
        "goal": 1.03,
    }
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
