"""`seam serve`: a champion behind REST."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.registry_view import registered_model
from seam.errors import ConfigError
from tasks.project.environment import tracking_uri
from tasks.project.params import load_params
from tasks.project.subject import Subject, check


@dataclass(frozen=True)
class Listening:
    """Where a server listens, and what a request may hold; None: as `tasks.serving.asked` has it."""

    host: str = "127.0.0.1"
    port: int = 5001
    max_megabytes: float | None = None
    max_images: int | None = None

    @property
    def arguments(self) -> list[str]:
        """Of the server's command."""
        limits = {"--max-megabytes": self.max_megabytes, "--max-images": self.max_images}
        given = {"--host": self.host, "--port": self.port, **{k: v for k, v in limits.items() if v is not None}}
        return [word for name, value in given.items() for word in (name, str(value))]


def serve_champion(root: Path, names: Mapping[str, str | None], listening: Listening) -> None:
    """Become the server of the champion of the one subject that is named.

    Args:
        root: the project.
        names: the name given for each kind of subject, by kind.
        listening: where.

    Raises:
        ConfigError: not one subject is named, there is none of that name, or it has no champion.
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
    os.environ["MLFLOW_TRACKING_URI"] = uri
    command = [sys.executable, "-m", "tasks.serving", f"models:/{name}@champion", *listening.arguments]
    os.execv(sys.executable, command)
