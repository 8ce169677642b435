"""The project's code and small data in a folder of its own, with parameters that make a run short."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tasks.project.layout import lay_out
from tasks.project.params import load_params
from tests.defaults import POLICY, ROOT, write_params
from tests.small_data import track_small_data

BIN = Path(sys.executable).parent
PROBLEM = "digit-0"
SMALL = {
    "problems": {PROBLEM: ["0"]},
    "runtime": {"threads": 1},
    "prepare_source": {"epochs": 4, "augment": "crop"},
    "search": {
        "structure": "hybrid",
        "channels_target": 0.4,
        "cost": "macs",
        "target": 0.1,
        "max_rounds": 50,
        "lr_scores": 0.1,
        "augment": "crop",
    },
    "finetune": {"epochs": 2, "augment": "crop"},
    "evaluate": {"adapt_epochs": 1, "retrain_epochs": 1},
    "evaluate_robustness": {"steps": 5},
    "benchmark_latency": {"batch_sizes": [1], "repeats": 10, "warmup": 2, "engines": ["onnxruntime"]},
}
FOLDERS = ("flows", "tasks", "seam", "presets", "pipelines")
FILES = (
    ".dvc/config",
    ".dvc/.gitignore",
    ".dvcignore",
    ".gitignore",
    "dvc.yaml",
    "env.sh",
    "prefect.yaml",
    "automations.yaml",
)


def environment():
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    return {
        **inherited,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "TQDM_DISABLE": "1",
    }


def make_small_project(folder):
    """The project's code, small data and small parameters, as its own git repository; nothing that a user edits."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / "mlflow").mkdir()
    (folder / "mlflow/registry.yaml").write_text(POLICY)
    write_params(folder / "params.yaml", **SMALL)
    lay_out(folder, load_params(folder / "params.yaml"))
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.invalid"]
    subprocess.run([*git, "init", "-q"], cwd=folder, check=True, capture_output=True)
    track_small_data(folder)
    for command in (["add", "-A"], ["commit", "-q", "-m", "project"]):
        subprocess.run([*git, *command], cwd=folder, check=True, capture_output=True)
    return folder


def run(folder, *command, ok=True):
    """Run a program of the project's environment."""
    return call(folder, str(BIN / command[0]), *command[1:], ok=ok)


def call(folder, *command, ok=True):
    """Run any program in the project; a failed one fails the test unless not `ok`."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=600, check=False
    )
    if ok:
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done
