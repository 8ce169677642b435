"""The storm: many processes register results of one model at once, some are killed, somebody loads the champion.

    make storm ARGS="--processes 8 --registrations 50 --folder FOLDER"

PostgreSQL, an S3 server and MLflow as `make servers` starts them. Every registration is a process of its
own on the one road into the registry (run, evidence, files, version, aliases), of a tiny network with
made-up figures: results are known by a number, some miss a gate, several processes register the same one
again and again, and one in four is killed with -9 somewhere on its way and run again. Meanwhile a
reader loads `models:/NAME@champion` in a loop and asks it. Afterwards: a version for each distinct
result and no more, none of which lacks its files; the champion was there at every moment, never worse
than the best whose registration had ended, and is the best of those that meet their gates.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it has a thread, which a forked process would miss

import mlflow  # noqa: E402
import mlflow.store.model_registry.sqlalchemy_store  # noqa: E402  else each process would
import mlflow.store.tracking.sqlalchemy_store  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from mlflow import MlflowClient  # noqa: E402

from flows.servers import supervision  # noqa: E402
from flows.servers.settings import settled  # noqa: E402
from seam.files import write_json  # noqa: E402
from seam.measures.macs import count  # noqa: E402
from seam.measures.shipped import Claim  # noqa: E402
from seam.networks.build import build  # noqa: E402
from seam.networks.source import Preprocess  # noqa: E402
from tasks.project.params import load_params  # noqa: E402
from tasks.project.stage import StageContext  # noqa: E402
from tasks.project.subject import Subject  # noqa: E402
from tasks.tracking.aliases import trace_of  # noqa: E402
from tasks.tracking.contest import Standing  # noqa: E402
from tasks.tracking.evidence import DataUsed, RunEvidence  # noqa: E402
from tasks.tracking.gates import judge  # noqa: E402
from tasks.tracking.policy import POLICY, load_policy  # noqa: E402
from tasks.tracking.registration import Payload, register  # noqa: E402
from tasks.tracking.store import SETTINGS  # noqa: E402
from tasks.tracking.turns import QUEUE  # noqa: E402
from tasks.tracking.versions import ServedModel  # noqa: E402
from tests.registry_project import make_registry_project  # noqa: E402

NAME = "seam-storm"
OURS = "reengineered_finetuned"
IMAGES = 1_000_000
"""Made up, so that any two results differ beyond the noise."""
RESULT = "storm.result"
KILLED = -9
_MOST = 20
"""Attempts at one registration."""


def accuracy_of(result: int, results: int) -> float:
    """Not in the order of the numbers."""
    return 0.6 + 0.39 * (result * 7919 % results) / results


def meets(result: int) -> bool:
    """One in five misses a gate, be it as accurate as it may."""
    return result % 5 != 4


def register_result(root: Path, result: int, results: int) -> None:
    """What the stage does, with figures and weights of the result's number."""
    params = load_params(root / "params.yaml").model_copy(update={"seed": result})
    context = StageContext("register_model", params, root, Subject("problem", "zero"))
    policy = load_policy(root / POLICY)
    figures = _figures(result, results)
    rates = {OURS: 0.1 if meets(result) else 0.9, "standard_finetuned": 0.5}
    attacked = {name: {"defect_inheritance_rate": rate} for name, rate in rates.items()}
    verdicts = judge(policy, OURS, figures, attacked, chance=0.5)
    standing = Standing.of({**figures[OURS], **attacked[OURS]}, IMAGES, "test", attack="attack")
    evidence = RunEvidence(
        [], {"evaluate/accuracy": figures[OURS]["accuracy"]}, DataUsed(params.data, "d" * 64, {}), {}
    )

    def publish(registration: Mapping[str, Any], out: Path) -> dict[str, Path]:
        write_json(out / "card.json", dict(registration))
        return {"card.json": out / "card.json"}

    register(context, Payload(evidence, verdicts, standing, _served(context, result), publish), policy)


def _figures(result: int, results: int) -> dict[str, Any]:
    sides = {OURS: (accuracy_of(result, results), 40), "source": (0.5, 100)}
    return {n: {"accuracy": a, "params_nonzero": w, "num_images": IMAGES} for n, (a, w) in sides.items()}


def _served(context: StageContext, result: int) -> ServedModel:
    torch.manual_seed(result)
    network = build(f"{context.root / 'tiny.py'}:tiny", 3).eval().requires_grad_(False)
    return ServedModel(
        name=NAME,
        made_of={"result": result},
        network=network,
        claim=Claim(asdict(count(network, torch.zeros(1, 3, 8, 8)))),
        preprocess=Preprocess((0.5,) * 3, (0.25,) * 3),
        classes=("zero", "one", "two"),
        image_shape=(8, 8, 1),
        image_size=None,
        example=np.zeros((2, 8, 8, 1), np.uint8),
        description="of a storm",
        tags={RESULT: str(result)},
    )


def attempt(uri: str, root: Path, result: int, results: int, log: Path) -> None:
    """One registration in a process of its own; its words in a file."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    register_result(root, result, results)


def read_champion(uri: str, log: Path, stop: Any) -> None:
    """Load and ask the champion until told to stop; a line of JSON each time."""
    os.environ.update({**SETTINGS, "MLFLOW_TRACKING_URI": uri})
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    images = np.zeros((2, 8, 8, 1), np.uint8)
    with log.open("a", buffering=1) as file:
        while not stop.is_set():
            read: dict[str, Any] = {"began": time.monotonic()}
            try:
                read["result"] = int(client.get_model_version_by_alias(NAME, "champion").tags[RESULT])
                read["answers"] = len(mlflow.pyfunc.load_model(f"models:/{NAME}@champion").predict(images))
            except Exception as e:
                read["failed"] = f"{type(e).__name__}: {e}"
            file.write(json.dumps(read) + "\n")
            stop.wait(0.1)


@dataclass
class Ended:
    """What the processes came to."""

    when: list[tuple[float, int]] = field(default_factory=list)
    """When each registration ended, and its result."""
    killed: int = 0
    failed: list[str] = field(default_factory=list)


class Storm:
    """Several slots, each registers one result after another; each has a project of its own, as machines have."""

    def __init__(self, folder: Path, uri: str, processes: int, registrations: int, results: int, seed: int = 0) -> None:
        self.folder, self.uri, self.results = folder, uri, results
        self.random = random.Random(seed)
        number = processes * registrations
        asked = [i % results for i in range(number)]
        self.random.shuffle(asked)
        self.jobs = [asked[i::processes] for i in range(processes)]
        self.ended, self.began = Ended(), time.monotonic()
        self.typical = 2.0
        """Seconds of a registration."""
        self.lock = threading.Lock()
        os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
        self.processes = multiprocessing.get_context("forkserver")  # processes that have imported all of this
        self.processes.set_forkserver_preload(["tests.drill.storm"])

    def rage(self, share_killed: float = 0.25, most_kills: int = 10**9) -> list[str]:
        """Do it all; returns what is wrong afterwards."""
        store = self.folder / "unused.db"
        store.touch()
        roots = []
        for i in range(len(self.jobs)):
            made = make_registry_project(self.folder / f"project-{i}", store)
            (made.root / POLICY).write_text((ROOT / POLICY).read_text())
            roots.append(made.root)
        self.share_killed, self.most_kills = share_killed, most_kills
        stop = self.processes.Event()
        reads = self.folder / "reads.jsonl"
        register = threading.Thread(target=self._register_all, args=(roots,))
        register.start()
        threading.Thread(target=self._tell, daemon=True).start()
        while not any(meets(result) for _, result in self.ended.when) and register.is_alive():
            time.sleep(0.05)
        reader = self.processes.Process(target=read_champion, args=(self.uri, reads, stop))
        reader.start()
        register.join()
        time.sleep(0.5)
        stop.set()
        reader.join(60)
        return [*self.ended.failed, *self._wrong_reads(reads), *self._wrong_versions()]

    def _tell(self) -> None:
        """Now and then how far it is, for who waits."""
        number = sum(map(len, self.jobs))
        while len(self.ended.when) < number:
            time.sleep(30)
            done, killed, failed = len(self.ended.when), self.ended.killed, len(self.ended.failed)
            print(
                f"{time.monotonic() - self.began:5.0f} s  {done} of {number}, {killed} killed, {failed} failed",
                flush=True,
            )

    def _register_all(self, roots: list[Path]) -> None:
        slots = [
            threading.Thread(target=self._slot, args=(root, jobs)) for root, jobs in zip(roots, self.jobs, strict=True)
        ]
        for slot in slots:
            slot.start()
        for slot in slots:
            slot.join()

    def _slot(self, root: Path, jobs: list[int]) -> None:
        for result in jobs:
            for _ in range(_MOST):
                if self._attempted(root, result):
                    break
            else:
                self.ended.failed.append(f"result {result}: not registered in {_MOST} attempts")

    def _attempted(self, root: Path, result: int) -> bool:
        log = root / "said.txt"
        process = self.processes.Process(target=attempt, args=(self.uri, root, result, self.results, log))
        began = time.monotonic()
        process.start()
        with self.lock:
            kills = self.ended.killed < self.most_kills and self.random.random() < self.share_killed
            after = self.random.uniform(0.0, 1.1 * self.typical)
        process.join(after if kills else 600)
        if process.exitcode is None:
            process.kill()
            process.join()
            self.ended.killed += kills
            if not kills:
                self.ended.failed.append(f"result {result}: not back in 600 s")
            return False
        now = time.monotonic()
        with self.lock:
            if process.exitcode == 0:
                self.ended.when.append((now, result))
                self.typical = 0.8 * self.typical + 0.2 * (now - began)
                return True
            self.ended.failed.append(f"result {result}: exit status {process.exitcode}: {log.read_text()[-1500:]}")
        return False

    def _wrong_reads(self, reads: Path) -> list[str]:
        """A champion that was not there, or was worse than one whose registration had ended."""
        found = [json.loads(line) for line in reads.read_text().splitlines()] if reads.is_file() else []
        self.reads = len(found)
        wrong, best = [] if found else ["the champion was never read"], -1.0
        for read in found:
            if "failed" in read:
                wrong.append(f"the reader: {read['failed']}")
                continue
            before = [accuracy_of(r, self.results) for when, r in self.ended.when if when < read["began"] and meets(r)]
            said = accuracy_of(read["result"], self.results)
            if not meets(read["result"]):
                wrong.append(f"result {read['result']} was champion and misses a gate")
            if said < max([best, *before]):
                wrong.append(f"result {read['result']} was champion ({said:.4f}), {max([best, *before]):.4f} was there")
            best = max(best, said)
        return wrong

    def _wrong_versions(self) -> list[str]:
        client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        asked = {result for jobs in self.jobs for result in jobs}
        versions = client.search_model_versions(f"name = '{NAME}'")
        results = sorted(int(version.tags[RESULT]) for version in versions)
        wrong = (
            [] if results == sorted(asked) else [f"expected a version of each of {len(asked)} results, got {results}"]
        )
        for version in versions:
            model = client.get_logged_model(version.source.rpartition("/models/")[2].partition("/")[0])
            if str(model.status) != "READY":
                wrong.append(f"version {version.version}: its files are {model.status}")
        best = max((r for r in asked if meets(r)), key=lambda r: accuracy_of(r, self.results))
        champion = client.get_model_version_by_alias(NAME, "champion")
        if int(champion.tags[RESULT]) != best:
            wrong.append(f"the champion is result {champion.tags[RESULT]}, the best is {best}")
        moves = sorted(line.number for version in versions for line in trace_of(version.tags))
        if moves != list(range(1, len(moves) + 1)):
            wrong.append(f"moves are numbered {moves}")
        waiting = client.search_model_versions(f"name = '{QUEUE}'")
        return [*wrong, *(f"a turn is left: {version.tags}" for version in waiting)]

    def said(self) -> str:
        """What was done, in a line."""
        asked = {result for jobs in self.jobs for result in jobs}
        return (
            f"{len(self.ended.when)} registrations of {len(asked)} results by {len(self.jobs)} processes in"
            f" {time.monotonic() - self.began:.0f} s, {self.ended.killed} killed; champion read {self.reads} times"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--registrations", type=int, default=50, help="of each process")
    parser.add_argument("--results", type=int, default=60, help="that are distinct")
    parser.add_argument("--folder", type=Path, help="for everything; default: a new one, removed at the end")
    parser.add_argument("--first-port", type=int, default=24_000 + os.getpid() % 800 * 10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o711)  # root's PostgreSQL has an account of its own
        servers = settled(folder / "servers", asked.first_port)
        try:
            supervision.start(servers)
            storm = Storm(folder, servers.mlflow_url, asked.processes, asked.registrations, asked.results)
            wrong = storm.rage()
        finally:
            supervision.stop(servers)
    print(storm.said(), *(f"wrong: {line}" for line in wrong), f"{len(wrong)} failures", sep="\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
