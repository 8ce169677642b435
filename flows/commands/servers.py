"""`seam servers`: the servers of a team on this machine, their backup and restore."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.servers import supervision
from flows.servers.backup import make_backup
from flows.servers.clients import REMOTE, add_remote, write_variables
from flows.servers.restore import restore_backup
from flows.servers.settings import Settings, read_settings, servers_folder, settled


def start_servers(root: Path, first_port: int | None, console: Console) -> None:
    """Start what does not run; say where it listens and how to use it."""
    settings = settled(servers_folder(root), first_port)
    with console.status("starting PostgreSQL, S3, MLflow and Prefect"):
        supervision.start(settings)
    _point(settings, root, console)


def settle(root: Path, first_port: int | None, console: Console) -> None:
    """Decide what `start` would, and start nothing."""
    _point(settled(servers_folder(root), first_port), root, console)


def _point(settings: Settings, root: Path, console: Console) -> None:
    """Point the project at the servers, and say how to use them."""
    add_remote(settings, root)
    folder, variables = settings.folder, write_variables(settings)
    for name, address in supervision.addresses(settings).items():
        console.print(f"{name:9} {address}", highlight=False, soft_wrap=True)
    console.print(f"data, logs, passwords: {folder}", highlight=False, soft_wrap=True)
    source = "env.sh" if folder == root / ".servers" else variables
    console.print(f"`source {source}` in each shell that uses them", highlight=False, soft_wrap=True)
    console.print(f"`dvc push -r {REMOTE}` and `dvc pull -r {REMOTE}` share results", highlight=False, soft_wrap=True)


def upgrade_servers(root: Path, console: Console) -> None:
    """Bring MLflow's database to the version that is installed; Prefect does so when it starts."""
    settings = read_settings(servers_folder(root))
    with console.status("upgrading"):
        supervision.upgrade(settings)
    start_servers(root, None, console)


def stop_servers(root: Path, console: Console) -> None:
    """Stop them; their data stays."""
    settings = read_settings(servers_folder(root))
    with console.status("stopping"):
        ran = supervision.stop(settings)
    console.print(
        f"{'stopped' if ran else 'nothing ran'}; the data stays in {settings.folder}", highlight=False, soft_wrap=True
    )


def show_servers(root: Path, console: Console) -> int:
    """Which answer.

    Returns:
        0, or 1 if one does not.
    """
    settings = read_settings(servers_folder(root))
    table, failures = Table("", "server", "address", "state"), supervision.states(settings)
    for name, address in supervision.addresses(settings).items():
        why = failures[name]
        table.add_row("[red]✗[/red]" if why else "[green]✓[/green]", name, address, escape(why) or "answers")
    console.print(table)
    return 1 if any(failures.values()) else 0


def back_up(root: Path, folder: Path | None, console: Console) -> None:
    """Write a backup of the registry and the DVC store beside the others."""
    settings = _settings(root)
    target = folder or Path(os.environ.get("SEAM_BACKUPS") or settings.folder / "backups")
    with console.status("backing up"):
        path, words = make_backup(settings, target.absolute())
    console.print(f"{words}\n{path}", highlight=False, soft_wrap=True)


def restore(root: Path, source: Path, replace: bool, console: Console) -> None:
    """Bring a backup into the servers that run."""
    settings = _settings(root)
    with console.status("restoring"):
        words = restore_backup(settings, source.absolute(), replace)
    console.print(words, highlight=False, soft_wrap=True)


def _settings(root: Path) -> Settings:
    return read_settings(servers_folder(root))
