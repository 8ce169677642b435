"""`seam serve`: a champion behind REST, with MLflow's own server."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from flows.commands.verify import verified_copy
from flows.registry_view import registered_model
from seam.errors import ConfigError
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.subject import Subject, check


def serve_champion(root: Path, names: Mapping[str, str | None], port: int, verified: bool = False) -> None:
    """Become `mlflow models serve` with the champion of the one subject that is named, on 127.0.0.1.

    Args:
        root: the project.
        names: the name given for each kind of subject, by kind.
        port: to listen on.
        verified: serve a copy of it that was checked, signed by a key of the project.

    Raises:
        ConfigError: not one subject is named, there is none of that name, or it has no champion.
        ProvenanceError: it is to be verified, and is not what was signed.
    """
    named = [Subject(kind, name) for kind, name in names.items() if name is not None]
    if len(named) != 1:
        raise ConfigError(
            f"expected {' or '.join(f'--{kind} NAME' for kind in names)}, one of them; `seam status` lists what is"
            " registered."
        )
    (subject,) = named
    params, uri = load_params(root / "params.yaml"), tracking_uri(root)
    check(params, subject)
    name = subject.registered_name(params)
    model = registered_model(uri, name)
    if model is not None and "champion" not in model.aliases:
        raise ConfigError(
            f"{name}: no version has the alias champion in {uri}; run `{subject.command}`, `seam report` says what its"
            " gates found."
        )
    served = f"models:/{name}@champion"
    if verified:
        served = str(verified_copy(root, served))
    typer.echo(f"serving models:/{name}@champion on http://127.0.0.1:{port}/invocations; Ctrl-C stops it")
    sys.stdout.flush()
    os.environ["MLFLOW_TRACKING_URI"] = uri
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    mlflow = shutil.which("mlflow") or "mlflow"
    arguments = ["models", "serve", "-m", served, "--env-manager", "local"]
    os.execv(mlflow, [mlflow, *arguments, "-h", "127.0.0.1", "-p", str(port), "-w", "1"])
