"""Options that several commands of `seam` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tasks.project.stages import COMPOSITION, MODULARIZATION, PATCH, RESTRUCTURING, SELECTION, Kind


def _only(kind: Kind) -> Any:
    """The flag that names subjects of a kind."""
    return typer.Option(
        f"--{kind.name}",
        metavar="NAME",
        help=f"Only this one of `{kind.section}`. Repeatable; default, or `all`: every one.",
        show_default=False,
    )


Set = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a parameter in params.yaml, for example search.alpha=0.5. Repeatable.",
        show_default=False,
    ),
]
ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        help="Take the values in this YAML file over those in params.yaml.",
        show_default=False,
    ),
]
Here = Annotated[bool, typer.Option("--here", help="Take times anew, on this machine, that were taken on another.")]
Problems = Annotated[
    list[str],
    typer.Option(
        "--problem",
        metavar="NAME",
        help="Only this target problem of params.yaml. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Compositions = Annotated[list[str], _only(COMPOSITION)]
Modularizations = Annotated[list[str], _only(MODULARIZATION)]
Patches = Annotated[list[str], _only(PATCH)]
Restructurings = Annotated[list[str], _only(RESTRUCTURING)]
Selections = Annotated[list[str], _only(SELECTION)]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="NAME",
        help="Only this data set of `targets`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
