"""Options that several commands of `seam` have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Problems = Annotated[
    list[str],
    typer.Option(
        "--problem",
        metavar="NAME",
        help="Only this target problem of params.yaml. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Compositions = Annotated[
    list[str],
    typer.Option(
        "--composition",
        metavar="NAME",
        help="Only this one of `compositions`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Modularizations = Annotated[
    list[str],
    typer.Option(
        "--modularization",
        metavar="NAME",
        help="Only this one of `modularizations`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Patches = Annotated[
    list[str],
    typer.Option(
        "--patch",
        metavar="NAME",
        help="Only this one of `patches`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Restructurings = Annotated[
    list[str],
    typer.Option(
        "--restructuring",
        metavar="NAME",
        help="Only this one of `restructurings`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="NAME",
        help="Only this data set of `targets`. Repeatable; default, or `all`: every one.",
        show_default=False,
    ),
]
