"""Whether the rules of automations.yaml fire: a run whose machine is gone, and a run that is stuck (two minutes).

    python tests/drill/automations.py

A Prefect server and a worker as the operator's page starts them, real stages. The rules wait five
minutes and a day; here 45 and 20 seconds, with a heartbeat every 30.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.flows.operators import environment, made, shell, state_of, wait_for, worker  # noqa: E402
from tests.flows.small_project import make_small_project  # noqa: E402

SOONER = {
    "automations.yaml": {"within: 300": "within: 45", "within: 86400": "within: 20"},
    "prefect.yaml": {'HEARTBEAT_FREQUENCY: "60"': 'HEARTBEAT_FREQUENCY: "30"'},
}
LONG = {"search": {"max_rounds": 100_000, "target": 0.001, "accuracy_floor": 0.0}}


def sooner(project: Path) -> None:
    """Rules that wait seconds."""
    for name, changes in SOONER.items():
        text = (project / name).read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name}: {old}"
            text = text.replace(old, new)
        (project / name).write_text(text)


def started(api: str) -> str:
    """A run that would last for hours, going on."""
    run: str = made(api, "seam-on-demand/on-demand", changes=LONG).raise_for_status().json()["id"]
    return run


def kill_all_of(folder: Path) -> None:
    """The machine is gone: the run, and the worker that would say so; nobody else's, and not the server."""
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or ())
        is_ours = Path(process.info["cwd"] or "/").is_relative_to(folder)
        if is_ours and ("prefect worker" in words or "prefect.engine" in words):
            process.kill()


def main() -> None:
    """Say when each rule fired; fail where one does not."""
    with tempfile.TemporaryDirectory() as scratch:
        logs = Path(scratch).resolve()
        project = make_small_project(logs / "project")
        sooner(project)
        ours = environment(logs)
        with worker(project, ours, logs) as api:
            shell("prefect automation create --from-file automations.yaml", project, ours)
            run = started(api)
            wait_for(lambda: state_of(api, run)["type"] == "RUNNING", 120, "a run that goes on", logs)
            start = time.monotonic()
            wait_for(lambda: state_of(api, run)["type"] == "CANCELLED", 120, "a stuck run is cancelled", logs)
            print(f"a run that is stuck: cancelled after {time.monotonic() - start:.0f} s (rule: 20 s)", flush=True)
            shell("prefect automation delete 'seam - a run that is stuck'", project, ours)
            run = started(api)
            wait_for(lambda: state_of(api, run)["type"] == "RUNNING", 120, "a run that goes on", logs)
            time.sleep(35)  # a heartbeat
            kill_all_of(logs)
            start = time.monotonic()
            wait_for(lambda: state_of(api, run)["type"] == "CRASHED", 180, "a run that is gone is marked", logs)
            print(f"a run whose machine is gone: CRASHED after {time.monotonic() - start:.0f} s (rule: 45 s)")


if __name__ == "__main__":
    main()
