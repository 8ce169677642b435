"""What other work on the machine costs: training and prediction idle, and beside two busy processes.

    python benchmarks/contention.py [--repeats 3] [--busy 2]

Of each network once as a process computes that takes every core and waits as OpenMP does by itself
("all cores"), and once as `seam run` computes (`runtime.threads: 0`). The busy processes are started
here, in the same session and as nice as the work. Prints one JSON object: the least seconds of the
repeats, which go in turn, and what matters, their ratios; and the load of the machine before it began,
which has to be low for the seconds to say something. Where it is not, `setsid` and a low number in
/proc/self/autogroup give this benchmark precedence over other sessions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WORKS = {  # name: architecture, side of the images, steps
    "resnet20, 8 pixels": ("resnet20", 8, 60),
    "resnet20, 16 pixels": ("resnet20", 16, 40),
    "resnet20, 32 pixels": ("resnet20", 32, 12),
    "resnet18, 64 pixels": ("torchvision:resnet18", 64, 6),
}
_BATCH = 64
_BUSY = "while True: pass"


def work(architecture: str, side: int, steps: int, threads: int) -> float:
    """Seconds of so many training steps and predictions, after a few that are not counted."""
    import torch

    from seam.configs.runtime import RuntimeConfig
    from seam.networks.build import build
    from seam.runtime import start

    start(RuntimeConfig(device="cpu", precision="fp32", threads=threads), side**2)
    torch.manual_seed(0)
    network = build(architecture, 10)
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    images, labels = torch.randn(_BATCH, 3, side, side), torch.randint(10, (_BATCH,))
    begin = 0.0
    for step in range(-2, steps):
        if step == 0:
            begin = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network.train()(images), labels).backward()
        optimizer.step()
        with torch.no_grad():
            network.eval()(images)
    return time.perf_counter() - begin


def seconds_of(name: str, ours: bool) -> float:
    """The work in a process of its own."""
    from seam.hardware import cores
    from tasks.project.environment import WAITING

    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_"))}
    environment = {**inherited, **(WAITING if ours else {}), "PYTHONPATH": str(ROOT)}
    asked = json.dumps([*WORKS[name], 0 if ours else cores()])
    done = subprocess.run(
        [sys.executable, __file__, "--work", asked], env=environment, capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@contextmanager
def busy(number: int) -> Iterator[None]:
    """Processes that compute all the time, while the block runs."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measured(name: str, repeats: int, number: int) -> dict[str, Any]:
    """The least seconds of each setting, idle and not, and their ratios."""
    least: dict[str, float] = {}
    for _ in range(repeats):
        for beside in (0, number):
            for ours in (False, True):
                with busy(beside):
                    seconds = seconds_of(name, ours)
                key = f"{'ours' if ours else 'all cores'}{', busy' if beside else ''}"
                least[key] = min(least.get(key, seconds), seconds)
    ratios = {
        "ours over all cores, idle": least["ours"] / least["all cores"],
        "busy over idle, all cores": least["all cores, busy"] / least["all cores"],
        "busy over idle, ours": least["ours, busy"] / least["ours"],
    }
    return {key: round(value, 2) for key, value in (least | ratios).items()}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--busy", type=int, default=2, help="processes beside the work")
    parser.add_argument("--only", choices=WORKS, nargs="*", default=list(WORKS))
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        print(work(*json.loads(arguments.work)))
        return
    from seam.hardware import in_words

    found: dict[str, Any] = {"machine": in_words(), "load": os.getloadavg()[0], "busy": arguments.busy}
    for name in arguments.only:
        found[name] = measured(name, arguments.repeats, arguments.busy)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
