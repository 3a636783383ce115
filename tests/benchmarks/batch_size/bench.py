"""What a search for a batch size costs: fit against binsearch and against Lightning's, under one limit.

`make bench-batch`. All searches of a target run one after the other in one run, since the seconds of one machine mean
little on another; each starts its own processes, loading torch included. Lightning runs where `.venv-peers` has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PEERS = HERE.parents[2] / ".venv-peers" / "bin" / "python"
BUDGETS = {"cnn": 400, "transformer": 600}  # MiB
MOST_TRIALS, MOST_SHARE, SAME = 5, 0.5, 0.02


def searched(name: str, mode: str) -> dict[str, Any]:
    """One search by the command, in a process of its own."""
    command = [sys.executable, "-m", "lrscout", "find-batch-size", f"{HERE / 'models.py'}:build", "-k", f"name={name}"]
    # size 1 cannot be trained where a batch norm sees one value a channel, so all begin at 2, as Lightning does
    options = ["--budget", f"{BUDGETS[name]}MiB", "--mode", mode, "--min", "2", "--device", "cpu", "--json"]
    started = time.perf_counter()
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    result = json.loads(done.stdout)["result"]
    seconds = time.perf_counter() - started
    return {"answer": result["largest_fitting"], "seconds": seconds, "trials": len(result["trials"])}


def lightnings(name: str) -> dict[str, Any] | None:
    """Lightning's search under the same limit; None where it is not installed."""
    limit = int(BUDGETS[name] * (1 << 20) * 0.95)
    command = [str(PEERS), "peer_lightning.py", name, str(limit)]
    if not PEERS.exists():
        return None
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    if done.returncode != 0:
        return {"answer": None, "seconds": time.perf_counter() - started, "trials": 0, "error": done.stderr[-300:]}
    return {**json.loads(done.stdout.splitlines()[-1]), "seconds": time.perf_counter() - started}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="*", choices=list(BUDGETS), default=list(BUDGETS))
    missed = []
    for name in parser.parse_args().targets:
        print(f"\n{name}, {BUDGETS[name]} MiB", flush=True)
        found = {}
        for label, search in (
            ("fit", lambda name=name: searched(name, "fit")),
            ("binsearch", lambda name=name: searched(name, "binsearch")),
            ("Lightning 2.6.6", lambda name=name: lightnings(name)),
        ):
            run = search()
            if run is None:
                print(f"  {label:16} not installed: make peers-batch")
                continue
            found[label] = run
            told = f"  {run['error']}" if run.get("error") else ""
            print(
                f"  {label:16} {run['answer']!s:>6}  {run['trials']:3} trials  {run['seconds']:6.1f} s{told}",
                flush=True,
            )
        fit, other = found["fit"], found["binsearch"]
        bars = {
            f"at most {MOST_TRIALS} trials": fit["trials"] <= MOST_TRIALS,
            f"at most {MOST_SHARE:.0%} of binsearch's time": fit["seconds"] <= MOST_SHARE * other["seconds"],
            f"the same answer within {SAME:.0%}": abs(fit["answer"] - other["answer"]) <= SAME * other["answer"],
        }
        missed += [f"{name}: {bar}" for bar, held in bars.items() if not held]
    print("\nall bars hold" if not missed else "\nmissed: " + "; ".join(missed))
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
