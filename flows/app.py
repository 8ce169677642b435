"""The `seam` program, apart from its commands: errors as one line, Ctrl-C, the version, the project."""

from __future__ import annotations

import gc
import logging
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import typer.core
from rich.console import Console

from flows.project import log_to_file, project_root, state_folder
from seam.errors import SeamError
from tasks.project import stopping
from tasks.project.guard import guard
from tasks.project.machine import refusal
from tasks.project.stages import Kind

logger = logging.getLogger(__name__)


class _Commands(typer.core.TyperGroup):
    """Each of which is ended by Ctrl-C and SIGTERM alike."""

    def invoke(self, ctx: Any) -> Any:
        with stopping.interruptible():
            return super().invoke(ctx)


app = typer.Typer(
    name="seam",
    cls=_Commands,
    help=(
        "Re-engineer a trained network: keep only the weights a target problem needs, measured, versioned and"
        " registered."
    ),
    epilog="Numbers live in params.yaml; results in artifacts/; the log of this machine's runs in .seam/seam.log.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point: every error a user can mend is one line on stderr and exit status 1; Ctrl-C is 130."""
    guard()
    # the libraries make a million objects that stay: looking through them again and again costs seconds
    gc.set_threshold(100_000, 20, 100)
    # until the project's log file is open, the terminal shows our one line only
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        app(standalone_mode=True)
    except SeamError as e:
        logger.error("%s", e, exc_info=True)
        _complain(f"error: {' '.join(str(e).split())}")
        sys.exit(1)
    except Exception as e:
        logger.exception("unexpected error")
        said = refusal(e, "seam", Path.cwd()) or (
            f"unexpected {type(e).__name__}: {' '.join(str(e).split())}; the traceback is in .seam/seam.log, please"
            " report it."
        )
        _complain(f"error: {said}")
        sys.exit(1)


def _complain(line: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(f"seam {version('seam')}")
        except PackageNotFoundError:
            typer.echo("seam (not installed)")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of every command."""


def enter_project() -> Path:
    """Change into the project and send logs to its file."""
    root = project_root()
    os.chdir(root)
    state_folder(root)
    log_to_file(root)
    return root


def run_kind(
    kind: Kind | None, flow: str, overrides: list[str], params_file: Path | None, names: list[str], **options: Any
) -> NoReturn:
    """Run the flow of a kind by hand, in the project, and exit with its status.

    Args:
        kind: of the subjects to work on; None: every kind that there are any of.
        flow: module:function.
        overrides: changes to params.yaml.
        params_file: a file whose values replace those in it, from where the user stands.
        names: of the subjects; every one if empty.
        options: further arguments of the flow.
    """
    from flows.commands.run import run_by_hand

    params_file = params_file.absolute() if params_file else None
    root = enter_project()
    raise typer.Exit(run_by_hand(root, kind, flow, overrides, params_file, names, Console(), options))
