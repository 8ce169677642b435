"""Stages that do nothing but write the outputs their dvc.yaml declares, for tests of the orchestration around them.

With this folder on PYTHONPATH a child process has them in place of the real ones; a test loads the
file by its path. SEAM_STUB="search@digit-3=error,evaluate@digit-3=kill" makes stages misbehave:
error (a SeamError), away (no server answers, the first time), crash (a bug), kill (kill -9 of this
process), interrupt (Ctrl-C), slow (progress for some seconds), stuck (minutes in a library that no
signal reaches, with a process of its own).
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = {"digest_code", "lay_out", "list_part", "list_parts"}
"""Stages that do in no time what DVC goes by."""
STAGES = {path.stem for path in (REPOSITORY / "tasks").glob("*.py")} - {"__init__", *REAL}
RESULTS = {
    ("evaluate", "metrics.json"): {
        model: {"params_nonzero": kept, "macs_nonzero": 100 * kept, "accuracy": 0.9}
        for model, kept in (("source", 1000), ("reengineered", 125), ("reengineered_finetuned", 125))
    },
    ("compare_transfers", "comparison.json"): {"classes": ["a", "b"], "num_test": 4, "methods": {}, "warnings": []},
    ("benchmark_latency", "export.json"): {model: {"model": model} for model in ("source", "reengineered")},
}
STUBBED = {f"tasks.{name}" for name in (*STAGES, "tracking.runs", "inputs.search_together")}


class _Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name in STUBBED else None

    def get_code(self, name: str) -> Any:
        """For `python -m tasks.<stage>`."""
        stage = name.rpartition(".")[2]
        return compile(f"import sitecustomize; sitecustomize.run_alone({stage!r})", f"<stub of {name}>", "exec")

    def exec_module(self, module: Any) -> None:
        name = module.__name__.rpartition(".")[2]
        if name == "runs":
            module.sweep_stale_runs = lambda *_: []
        else:
            setattr(module, name, _together if name == "search_together" else _body)


def run_alone(stage: str) -> None:
    """What the file of a stage does when it is run."""
    from tasks.project.stage import main

    def body(context: Any) -> Any:
        return _body(context)

    body.__name__ = stage
    main(body, None)


def _body(context: Any) -> Any:
    _misbehave(context)
    root, folder = context.root, context.folder(context.stage)
    inside = [path for path in _outputs(context) if (root / path).is_relative_to(folder)]
    with context.publish() as out:
        for path in inside:
            target = out / Path(path).relative_to(folder.relative_to(root))
            if path.endswith("data_docs"):
                target.mkdir()
                target = target / "index.html"
            target.write_text(_content(context, target.name))
    for path in set(_outputs(context)) - set(inside):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(_content(context, Path(path).name))
    with (root / "ran.txt").open("a") as f:
        f.write(f"{context.stage}@{_key(context)}\n")
    return context.result({"density": 0.125, "rounds": 3})


def _together(contexts: Any, on_round: Any) -> Any:
    from types import SimpleNamespace

    _misbehave(contexts[0])
    names = [context.name for context in contexts]
    with (contexts[0].root / "ran.txt").open("a") as f:
        f.write(f"together@{'+'.join(names)}\n")
    on_round(names[0], SimpleNamespace(round=0, density=0.5, val_accuracy=0.9))
    return [tuple(names)]


def _misbehave(context: Any) -> None:
    wanted = dict(item.split("=") for item in os.environ.get("SEAM_STUB", "").split(",") if item)
    what = wanted.get(f"{context.stage}@{_key(context)}" if context.subject else context.stage)
    if what == "error":
        from seam.errors import DataError

        raise DataError(f"{context.stage}: expected a good stage, got a bad one; mend it.")
    if what == "away" and not (context.root / "away.txt").is_file():
        from seam.errors import NoAnswerError

        (context.root / "away.txt").write_text(context.stage)
        raise NoAnswerError("MLflow server at http://127.0.0.1:9 does not answer.")
    if what == "crash":
        raise ZeroDivisionError("a bug")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
    if what == "stuck":
        with subprocess.Popen(["sleep", "600"]) as process:
            (context.root / "stuck.txt").write_text(str(process.pid))
            hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    if what == "slow":
        for step in range(30):
            context.progress(step / 30, f"step {step}")
            time.sleep(0.1)


def _key(context: Any) -> str:
    subject = context.subject
    return "None" if subject is None else f"{subject.name}-{subject.student.key}" if subject.student else subject.name


def _outputs(context: Any) -> list[str]:
    from ruamel.yaml import YAML

    file, subject = context.root / context.run.address.file, context.subject
    entry = YAML(typ="safe").load(file.read_text())["stages"][context.stage]
    items = [item for kind in ("outs", "metrics", "plots") for item in entry.get(kind, [])]
    paths = [next(iter(item)) if isinstance(item, dict) else item for item in items]
    if subject is None or subject.student is None:
        return paths
    for name, value in {"${item.method}": subject.student.method, "${item.seed}": subject.student.seed}.items():
        paths = [p.replace(name, str(value)) for p in paths]
    return paths


def _content(context: Any, name: str) -> str:
    from tasks.project import timed
    from tasks.project.stages import all_stages

    if (context.stage, name) in RESULTS:
        times = all_stages()[context.stage].times
        machine = {times[1]: dict(timed.here())} if times else {}
        return json.dumps(RESULTS[context.stage, name] | machine)
    if name != "card.json":
        return "{}" if name.endswith(".json") else f"{context.stage} {context.subject} {context.params.search.alpha}\n"
    model = context.subject.registered_name(context.params)
    _register(context.root / "mlflow/mlflow.db", model)
    return json.dumps(
        {"registered_model": model, "version": 1, "aliases": ["champion"], "run_id": "0" * 32, "gates": []}
    )


def _register(database: Path, model: str) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("CREATE TABLE IF NOT EXISTS model_versions (name, version, current_stage)")
        connection.execute("CREATE TABLE IF NOT EXISTS registered_model_aliases (name, alias, version)")
        connection.execute("CREATE TABLE IF NOT EXISTS model_version_tags (name, version, key, value)")
        connection.execute("DELETE FROM model_versions WHERE name = ?", (model,))
        connection.execute("INSERT INTO model_versions VALUES (?, 1, 'None')", (model,))


def make_project(root: Path) -> Path:
    """A copy of the project with a small data file and nothing made yet, as git and DVC repository."""
    from dvc.repo import Repo

    from tests.defaults import write_params

    root.mkdir()
    for name in ("flows", "tasks", "seam", "pipelines"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", "prefect.yaml", "automations.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, root)
    write_params(root / "params.yaml", problems={"digit-3": ["3"], "low-digits": ["0", "1"]})
    for name, text in {
        "data/digits.npz": "stub",
        "mlflow/registry.yaml": "gates: []\n",
        ".gitignore": "/artifacts/\n/mlflow/mlflow.db\n",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    Repo.init(str(root)).close()
    return root


def install() -> None:
    """Put the stubs in place of the real stages in this process; `remove` takes them away."""
    remove()
    sys.meta_path.insert(0, _Stubs())


def remove() -> None:
    """Undo `install`."""
    sys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != "_Stubs"]
    for name in STUBBED:
        sys.modules.pop(name, None)


if __name__ == "sitecustomize":
    install()
