"""The commands of `seam` for many problems and many machines: what each takes and says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, enter_project
from seam.errors import ConfigError

Scheduler = Annotated[
    str | None,
    typer.Option(
        "--scheduler",
        metavar="URL",
        help="Of Dask, with workers that were started there: tcp://HOST:8786.",
        show_default=False,
    ),
]


@app.command()
def sweep(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE|NAME...",
            help="A plan (docs/sweep.md), names of params.yaml, or `status [NAME]`; default: every problem.",
            show_default=False,
        ),
    ] = None,
    every_class: Annotated[
        bool, typer.Option("--every-class", help="Add a problem for each class of the data set.")
    ] = False,
    superclasses: Annotated[
        str | None,
        typer.Option("--superclasses", metavar="SET", help="Add the published ones: cifar100 or imagenet."),
    ] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="0..4", help="Each point under each seed.")] = None,
    grid: Annotated[
        list[str],
        typer.Option("--set-grid", metavar="KEY=A,B", help="Values of a parameter, each a setting. Repeatable."),
    ] = [],  # noqa: B006  typer needs the list
    overrides: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="For this sweep alone; params.yaml stays as it is. Repeatable."
        ),
    ] = [],  # noqa: B006
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Results lie in sweeps/NAME.", show_default=False)
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", help="On this machine. Default: one for every two cores.", min=0)
    ] = 0,
    scheduler: Scheduler = None,
) -> None:
    """Do many problems under many settings, on the workers of this machine or of many.

    What is finished is never computed again; one that fails leaves the others. Stop it any time: the
    same command continues.
    """
    from flows.commands.sweep import show_sweep, sweep_by_hand
    from flows.sweeps.plan import plan_of_flags

    here = Path.cwd()
    root = enter_project()
    words = what or []
    if words[:1] == ["status"]:
        show_sweep(root, words[1] if len(words) > 1 else "sweep", Console())
        return
    if workers and scheduler:
        raise ConfigError("expected --workers, which are started here, or --scheduler, which has its own; got both.")
    flags = {"name": name, "every_class": every_class, "superclasses": superclasses, "seeds": seeds}
    plan = plan_of_flags(words, here, flags, grid, overrides)
    raise typer.Exit(sweep_by_hand(root, plan, workers, scheduler, Console()))


@app.command()
def scheduler(
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="0.0.0.0: at every address.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535)] = 8786,
) -> None:
    """Hand points of sweeps out to workers. Start one where all reach it, in a clone of the project.

    Whoever reaches it can run code on the workers: keep it in a private network, or use TLS
    (docs/sweep.md).
    """
    from flows.sweeps.serving import schedule

    enter_project()
    schedule(host, port)


@app.command()
def worker(
    scheduler: Annotated[
        str, typer.Option("--scheduler", metavar="URL", help="Of Dask: tcp://HOST:8786.", show_default=False)
    ],
    folder: Annotated[
        Path,
        typer.Option(
            "--folder",
            metavar="DIR",
            help="The working folder: a clone of the project, for this worker alone. Default: here.",
            show_default=False,
        ),
    ] = Path(),
    once: Annotated[
        bool, typer.Option("--once", help="End when the scheduler does, instead of waiting for it.")
    ] = False,
    cores: Annotated[
        str | None, typer.Option("--cores", metavar="0,1", help="Use these alone.", show_default=False)
    ] = None,
) -> None:
    """Work for sweeps: take a point, look for it, compute it, send it, register it.

    Start one a machine, or one a GPU.
    """
    from flows.project import log_to_file
    from flows.sweeps.serving import serve

    folder = folder.absolute()
    if not ((folder / "params.yaml").is_file() and (folder / "dvc.yaml").is_file()):
        raise ConfigError(f"{folder}: expected a clone of the project (params.yaml and dvc.yaml), found none.")
    log_to_file(folder)
    serve(scheduler, folder, once, [int(c) for c in cores.split(",")] if cores else [])
