"""`seam servers`: PostgreSQL, S3, MLflow and Prefect on this machine; what each command takes and says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.app import app, enter_project

servers = typer.Typer(
    help="The servers of a team on this machine: PostgreSQL, S3, MLflow and Prefect, on loopback.",
    no_args_is_help=True,
)
app.add_typer(servers, name="servers")


FirstPort = Annotated[
    int | None,
    typer.Option(
        "--first-port",
        min=1024,
        max=55_000,
        help="Seven ports from here on, and some 10,000 above, in place of the usual ones; for new data alone.",
        show_default=False,
    ),
]


@servers.command()
def start(first_port: FirstPort = None) -> None:
    """Start those that do not run, and return when all answer.

    Data, logs and generated passwords are in one folder: SEAM_SERVERS, or .servers in the project.
    """
    from flows.commands.servers import start_servers

    root = enter_project()
    start_servers(root, first_port, Console())


@servers.command()
def settings(first_port: FirstPort = None) -> None:
    """Choose ports, passwords and keys and point the project at the servers, but start none: for compose.yaml."""
    from flows.commands.servers import settle

    settle(enter_project(), first_port, Console())


@servers.command()
def upgrade() -> None:
    """Bring MLflow's database to the version that is installed, and start the servers; make a backup first."""
    from flows.commands.servers import upgrade_servers

    root = enter_project()
    upgrade_servers(root, Console())


@servers.command()
def stop() -> None:
    """Stop them; their data stays."""
    from flows.commands.servers import stop_servers

    stop_servers(enter_project(), Console())


@servers.command()
def status() -> None:
    """Show which answer. Exit status 1 if one does not."""
    from flows.commands.servers import show_servers

    raise typer.Exit(show_servers(enter_project(), Console()))


@servers.command()
def backup(
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            metavar="FOLDER",
            help="Where backups are kept, one folder each. Default: SEAM_BACKUPS, or backups beside the data.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Back up the registry (databases and artifacts) and the DVC store, while they are in use.

    What has not changed since the backup before it is kept once (hard links).
    """
    from flows.commands.servers import back_up

    into = into.absolute() if into else None
    root = enter_project()
    back_up(root, into, Console())


@servers.command()
def restore(
    source: Annotated[Path, typer.Argument(metavar="BACKUP", help="The folder of one backup.", show_default=False)],
    replace: Annotated[
        bool, typer.Option("--replace", help="Though the registry has models or runs, which are put aside.")
    ] = False,
) -> None:
    """Bring a backup into the servers that run, and check that its models answer as they did.

    The databases change places at the end; until then the registry is as it was.
    """
    from flows.commands.servers import restore as bring_back

    source = source.absolute()
    root = enter_project()
    bring_back(root, source, replace, Console())
