"""The command of `seam` that takes back what another one set."""

from __future__ import annotations

import typer

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, enter_project


@app.command()
def undo() -> None:
    """Take back what the last --set or --params changed in params.yaml, and have the results that were there before.

    Nothing is computed: they come out of DVC's cache.
    """
    from flows.undo import take_back

    for line in take_back(enter_project()):
        typer.echo(f"taken back: {line}")
