"""The commands of `seam` that look at the registry and move its champions by hand: what each takes and says."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, enter_project

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A registered model: seam-shirt.", show_default=False)]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the trace, a tag of the version.")]


@app.command()
def versions(
    model: Model, as_json: Annotated[bool, typer.Option("--json", help="As JSON, with every move.")] = False
) -> None:
    """List the versions of a registered model: aliases, gates, digests, date, and who moved its champion and why."""
    from flows.commands.versions import show_versions

    wide = Console() if sys.stdout.isatty() else Console(width=200)
    show_versions(enter_project(), model, wide, as_json=as_json)


@app.command()
def promote(
    model: Model,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="Its number.", show_default=False)],
    why: Why = "promoted by hand",
    force: Annotated[bool, typer.Option("--force", help="Also one that misses a gate, or was never judged.")] = False,
) -> None:
    """Make a version the champion by hand; versions there are do not take its place by themselves, later ones may."""
    from flows.commands.versions import promote as move

    typer.echo(move(enter_project(), model, version, why, force=force))


@app.command()
def rollback(
    model: Model,
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="VERSION", min=1, help="One that was champion; default: the one before.", show_default=False
        ),
    ] = None,
    why: Why = "rolled back by hand",
) -> None:
    """Go back to the champion before, or to one that you name; versions there are do not take its place."""
    from flows.commands.versions import roll_back

    typer.echo(roll_back(enter_project(), model, version, why))
