"""Projects of their own for the reproductions.

Parameters from a preset, the stages of this checkout, run by `dvc repro`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from seam.errors import SeamError
from seam.hardware import describe
from tasks.project.change_params import change_params
from tasks.project.layout import lay_out
from tasks.project.params import Params, load_params
from tasks.project.pipeline_template import TEMPLATES
from tasks.project.stages import DIGEST_STAGE, LAYOUT_STAGE
from tasks.project.subject import StageRun

ROOT = Path(__file__).resolve().parent.parent
DEFAULTS = ROOT / "params.yaml"


def this_machine() -> dict[str, Any]:
    """For a card: what the numbers depend on."""
    packages = ("torch", "torchvision", "numpy", "onnxruntime", "openvino", "advertorch", "fvcore")
    return {**describe(), "versions": {name: version(name) for name in packages}}


def make_project(folder: Path, presets: Sequence[Path], overrides: Sequence[str]) -> Params:
    """Make or update a project with the default parameters, presets over them in turn and `overrides` over those.

    What it has computed stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(DEFAULTS, folder / "params.yaml")
    for preset in presets:
        change_params(folder / "params.yaml", overlay=preset)
    change_params(folder / "params.yaml", overrides)
    (folder / TEMPLATES).mkdir(exist_ok=True)
    for file in (Path("dvc.yaml"), *(path.relative_to(ROOT) for path in (ROOT / TEMPLATES).glob("*.yaml"))):
        _write_pipeline(ROOT / file, folder / file)
    (folder / "mlflow").mkdir(exist_ok=True)
    shutil.copyfile(ROOT / "mlflow" / "registry.yaml", folder / "mlflow" / "registry.yaml")
    if not (folder / ".dvc").is_dir():
        _run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], folder)
    return load_params(folder / "params.yaml")


def _write_pipeline(ours: Path, theirs: Path) -> None:
    """Stages without the code, which is this checkout's, and no reason to compute anew."""
    yaml = YAML()
    yaml.width = 400
    pipeline = yaml.load(ours)
    for name in (DIGEST_STAGE, LAYOUT_STAGE):
        pipeline["stages"].pop(name, None)
    for stage in pipeline["stages"].values():
        stage["params"] = [p for p in stage["params"] if isinstance(p, str)]
    yaml.dump(pipeline, theirs)


def repro(folder: Path, params: Params, targets: Sequence[StageRun]) -> None:
    """`dvc repro`, with the parameters' threads in every process.

    Raises:
        subprocess.CalledProcessError: a stage failed.
    """
    lay_out(folder, load_params(folder / "params.yaml"))
    threads = {"OMP_NUM_THREADS": str(params.runtime.threads)} if params.runtime.threads else {}
    _run([sys.executable, "-m", "dvc", "repro", *(str(run.address) for run in targets)], folder, threads)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line and status 1 on bad input, and where a stage failed."""
    try:
        yield
    except (SeamError, ValueError) as e:
        sys.exit(f"error: {e}")
    except subprocess.CalledProcessError as e:
        sys.exit(
            f"error: {shlex.join(e.cmd[2:])} failed with status {e.returncode}, see above; run the same command again,"
            " finished stages are kept."
        )


def shown(place: str) -> str:
    """A file by its name alone: where it lies says nothing to others."""
    return place if place.startswith(("hub:", "https:", "models:", "torchvision:")) else place.rpartition("/")[2]


def _run(command: Sequence[str], folder: Path, environment: Mapping[str, str] = {}) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path, **environment}, check=True)
