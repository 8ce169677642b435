"""The drill: a sweep of twelve problems on three workers, while everything it stands on is taken away in turn.

    make drill ARGS="--problems 12 --folder FOLDER"

PostgreSQL, an S3 server, MLflow and Prefect as `make servers` starts them, a scheduler, three workers in
clones of their own; real stages, seconds each. In turn: a worker killed with -9, the scheduler killed,
MLflow and Prefect away for 30 s, the S3 server away, the network of one worker cut. Afterwards it looks
whether everything is registered exactly once, with the masks and weights of a sweep that nobody
disturbed, no run is left going on, and nothing was computed again that was finished.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from mlflow import MlflowClient  # noqa: E402
from prefect.client.orchestration import get_client  # noqa: E402
from prefect.settings import PREFECT_API_URL, temporary_settings  # noqa: E402

from flows.servers import supervision  # noqa: E402
from flows.servers.settings import Settings, settled  # noqa: E402
from tests.drill.cut import Cable  # noqa: E402
from tests.drill.town import NAME, SEAM, Town  # noqa: E402

WORKERS = 3
_AWAY_SECONDS = 30.0


def problems_of(number: int) -> dict[str, list[str]]:
    """Digits one by one, then groups of them."""
    single = {f"digit-{i}": [str(i)] for i in range(min(number, 10))}
    groups = {f"first-{i}": [str(d) for d in range(i)] for i in range(2, 10)}
    return dict([*single.items(), *groups.items()][:number])


class Drill:
    """A town, its servers, and what is done to them."""

    def __init__(self, folder: Path, number: int, first_port: int) -> None:
        self.town = Town(folder, problems_of(number), WORKERS)
        self.servers: Settings = settled(folder / "servers", first_port)
        self.cable = Cable(self.town.scheduler)
        self.started = time.monotonic()

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.started:6.0f} s  {text}", flush=True)

    def build(self) -> dict[str, dict]:
        """Everything up; returns the results of a sweep that nobody disturbs."""
        town = self.town
        undisturbed = self.undisturbed()
        town.build()
        self.say("servers: PostgreSQL, S3, MLflow, Prefect")
        supervision.start(self.servers)
        town.connect(self.servers)
        town.variables["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "2"
        town.start_scheduler()
        for number in range(WORKERS - 1):
            town.start_worker(number)
        town.start_worker(WORKERS - 1, self.cable.address)
        return undisturbed

    def undisturbed(self) -> dict[str, dict]:
        """The records of a sweep on this machine; made once in a folder."""
        kept = self.town.folder / "undisturbed.json"
        if not kept.is_file():
            self.say(f"a sweep that nobody disturbs: {len(self.town.problems)} problems, two workers of one machine")
            quiet = Town(self.town.folder / "quiet", self.town.problems, 0)
            quiet.build()
            quiet.call(quiet.lead, *SEAM, "sweep", "--name", NAME, "--workers", "2")
            kept.write_text(json.dumps(quiet.records()))
        found: dict[str, dict] = json.loads(kept.read_text())
        return found

    def disturb(self) -> None:
        """Everything in turn, each while points are being done."""
        turns: list[tuple[str, Callable[[], None]]] = [
            ("a worker killed with -9", self.kill_worker),
            ("the scheduler killed with -9", self.kill_scheduler),
            (f"MLflow and Prefect away for {_AWAY_SECONDS:.0f} s", lambda: self.away("mlflow", "prefect")),
            (f"the S3 server away for {_AWAY_SECONDS:.0f} s", lambda: self.away("s3")),
            (f"the network of a worker cut for {_AWAY_SECONDS:.0f} s", self.cut_network),
        ]
        self.town.begin_sweep()
        for name, turn in turns:
            self.until_busy()
            self.say(name)
            self.town.disturbed.append(name)
            turn()
        while not self.all_done():
            status, _ = self.town.end_sweep()
            self.say(f"the sweep ended with status {status}: {self.counts()}")
            if not self.all_done():
                assert self.town.begun < 12, "the sweep does not come to an end"
                self.town.begin_sweep()
        if "sweep" in self.town.processes:
            self.town.end_sweep()

    def until_busy(self) -> None:
        """Wait for a worker in the middle of something; a sweep that has ended meanwhile is begun again."""
        seen = len(self.town.events())
        deadline = time.monotonic() + 300
        while not (len(self.town.events()) > seen + 3 and self.town.busy_with("") is not None):
            assert time.monotonic() < deadline, "nobody works"
            if self.all_done():
                break
            if self.town.processes["sweep"].poll() is not None:
                status, _ = self.town.end_sweep()
                self.say(f"the sweep ended with status {status}: {self.counts()}; again")
                self.town.begin_sweep()
            time.sleep(0.5)

    def kill_worker(self) -> None:
        number = self.town.busy_with("")
        assert number is not None
        self.town.kill(self.town.clones[number].name)
        time.sleep(5)
        self.town.start_worker(number, self.cable.address if number == WORKERS - 1 else None)

    def kill_scheduler(self) -> None:
        self.town.kill("scheduler")
        status, _ = self.town.end_sweep(120)
        self.say(f"the sweep ended with status {status}: {self.counts()}")
        self.town.start_scheduler()
        self.town.begin_sweep()

    def away(self, *names: str) -> None:
        supervision.pause(self.servers, *names)
        time.sleep(_AWAY_SECONDS)
        supervision.go_on(self.servers, *names)

    def cut_network(self) -> None:
        self.cable.cut()
        time.sleep(_AWAY_SECONDS)
        self.cable.mend()

    def all_done(self) -> bool:
        records = self.town.records()
        return len(records) == len(self.town.problems) and all(r["state"] == "done" for r in records.values())

    def counts(self) -> str:
        states = [record["state"] for record in self.town.records().values()]
        return f"{states.count('done')} done, {states.count('failed')} failed of {len(self.town.problems)}"

    def check(self, undisturbed: dict[str, dict]) -> dict[str, object]:
        """What is wrong afterwards, by what was to be true; nothing where it is empty."""
        town, client = self.town, MlflowClient(self.servers.mlflow_url)
        versions = [(v.name, str(v.version)) for v in client.search_model_versions(max_results=1000)]
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()], max_results=1000)
        begun, kept = town.counted("begins"), town.counted("is kept")
        again = {stage: n - 1 for stage, n in begun.items() if n > 1}
        found = {
            "registered exactly once": sorted(set(versions) ^ {(f"seam-{p}", "1") for p in town.problems}),
            "results of a sweep that nobody disturbed": [
                k for k, r in town.records().items() if _hashes(r) != _hashes(undisturbed[k])
            ],
            "no run left RUNNING in MLflow": [r.info.run_name for r in runs if r.info.status == "RUNNING"],
            "no run left RUNNING in Prefect": self.running_in_prefect(),
            "nothing computed again that was finished": {s: n for s, n in kept.items() if n > 1},
            "at most one stage a disturbance begun again": again
            if sum(again.values()) > len(town.disturbed) + WORKERS
            else {},
        }
        self.say(f"{sum(kept.values())} stages kept, {sum(begun.values()) - sum(kept.values())} begun again: {again}")
        return {name: wrong for name, wrong in found.items() if wrong}

    def running_in_prefect(self) -> list[str]:
        with temporary_settings({PREFECT_API_URL: self.servers.prefect_url}), get_client(sync_client=True) as client:
            runs = client.read_flow_runs()
        return [run.name for run in runs if run.state and run.state.is_running()]

    def stop(self) -> None:
        self.town.stop()
        supervision.stop(self.servers)


def _hashes(record: dict) -> tuple[str, str]:
    card = record["outcome"]["card"]
    return card["mask_sha256"], card["result_sha256"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=12)
    parser.add_argument("--folder", type=Path, help="for everything; default: a new one, removed at the end")
    parser.add_argument("--first-port", type=int, default=24_000 + os.getpid() % 800 * 10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        drill = Drill(arguments.folder or Path(temporary), arguments.problems, arguments.first_port)
        try:
            undisturbed = drill.build()
            began = time.monotonic()
            drill.disturb()
            drill.say(f"done in {time.monotonic() - began:.0f} s, the sweep begun {drill.town.begun} times")
            wrong = drill.check(undisturbed)
        finally:
            drill.stop()
    print(json.dumps(wrong, indent=2) if wrong else "everything as it should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
