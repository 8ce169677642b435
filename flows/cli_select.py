"""The command of `seam` that chooses among trained networks: what it takes and says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, run_kind
from flows.cli_parts import entry_overrides, named
from flows.commands.options import ParamsFile, Selections, Set
from seam.configs.data import kind_of_path
from tasks.project.stages import SELECTION


@app.command()
def select(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of `selections`.", show_default=False)] = None,
    candidates: Annotated[
        str | None,
        typer.Option(
            "--candidates",
            metavar="A,B,...",
            help="Files or folders of weights, torchvision:NAME, models:/NAME/VERSION; ARCHITECTURE=FILE where needed.",
            show_default=False,
        ),
    ] = None,
    problem: Annotated[
        str | None,
        typer.Option("--for", metavar="PROBLEM", help="Of `problems`; default: all classes.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="PATH",
            help="A folder of images, or an npz or safetensors file; default: `data`.",
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=1, help="Side in pixels to bring --data to.", show_default=False)
    ] = None,
    overrides: Set = [],  # noqa: B006
    params_file: ParamsFile = None,
    selections: Selections = [],  # noqa: B006
) -> None:
    """Rank trained networks for a problem before anything is trained: estimates, cost, licence, inherited defects.

    `seam select best --candidates weights,torchvision:squeezenet1_1 --for shirt` writes `selections`
    in params.yaml and runs it; without options what stands there is run. Stop it any time: the next
    run continues.
    """
    asked = {"candidates": _quoted(candidates), "problem": problem, "data": _data(data, image_size)}
    flow, changes = "flows.select:run_selections", entry_overrides(SELECTION, name, asked, overrides)
    run_kind(SELECTION, flow, changes, params_file, named(name, selections))


def _quoted(names: str | None) -> str | None:
    """A list in YAML of names with commas between them, which may have colons in them."""
    return None if names is None else json.dumps([name.strip() for name in names.strip("[]").split(",")])


def _data(path: Path | None, image_size: int | None) -> str | None:
    """A data set in YAML."""
    if path is None:
        return None
    kind, size = kind_of_path(path), "null" if image_size is None else image_size
    return f"{{kind: {kind}, path: {json.dumps(str(path))}, image_size: {size}}}"
