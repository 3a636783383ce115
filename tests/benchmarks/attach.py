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
        began, cpu = time.perf_counter(), time.process_time()
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
print((time.process_time() - cpu) / (steps - warm), (time.perf_counter() - began) / (steps - warm), flush=True)
"""


Seconds = tuple[float, float]  # a step, of the processor and by the clock


def seconds(line: str) -> Seconds:
    cpu, wall = map(float, line.split())
    return cpu, wall


def bare(argv: list[str]) -> Seconds:
    return seconds(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def attached(argv: list[str], steps: int) -> Seconds:
    with AttachedCommand(argv) as command:
        command.attach()
        session = command.session()
        for _ in range(steps):
            session.step(1e-6)
            session.losses()
        session.losses(wait=True)
        command.release(None)  # lets go of the program, which then says how long it took
        command.wait()
    return seconds(command.output[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--width", type=int, default=448, help="448: about 1 ms a step on one core")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # else malloc gives gradients back to the system after every step of the bare program (half of its time), but not
    # in the attached one, where the snapshot lies above them
    os.environ.update(MALLOC_MMAP_THRESHOLD_=str(1 << 30), MALLOC_TRIM_THRESHOLD_=str(1 << 30))
    argv = [sys.executable, "-c", PROGRAM, str(arguments.steps), str(WARM), str(arguments.width)]
    pairs = [(bare(argv), attached(argv, arguments.steps)) for _ in range(arguments.rounds)]
    figures = {"goal": 1.03, "microseconds_per_bare_step": statistics.median(base[1] for base, _ in pairs) * 1e6}
    for place, name in enumerate(("processor", "clock")):
        figures[f"ratio_by_the_{name}"] = statistics.median(ours[place] / base[place] for base, ours in pairs)
        figures[f"ratio_of_the_fastest_by_the_{name}"] = min(o[place] for _, o in pairs) / min(
            b[place] for b, _ in pairs
        )
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
