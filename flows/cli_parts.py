"""The commands of `seam` that take networks apart and put modules to use: what each takes and says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, run_kind
from flows.commands.options import Compositions, Modularizations, ParamsFile, Patches, Set
from seam.errors import ConfigError
from tasks.project.stages import COMPOSITION, MODULARIZATION, PATCH, Kind

Of = Annotated[
    str | None,
    typer.Option(
        "--of",
        metavar="NAME",
        help="Whose modules: of `modularizations`, or a folder made elsewhere; A,B where several may be.",
        show_default=False,
    ),
]


@app.command()
def modularize(overrides: Set = [], params_file: ParamsFile = None, modularizations: Modularizations = []) -> None:  # noqa: B006
    """Take the source apart into a module a class: a mask over its kernels and a small head, a few kilobytes each.

    Each of `modularizations` in params.yaml is one way to do so. Stop it any time: the next run
    continues.
    """
    run_kind(MODULARIZATION, "flows.modularize:run_modularizations", overrides, params_file, modularizations)


@app.command()
def compose(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of `compositions`.", show_default=False)] = None,
    of: Of = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", metavar="A,B,...", help="Of the network; default: all.", show_default=False),
    ] = None,
    overrides: Set = [],  # noqa: B006
    params_file: ParamsFile = None,
    compositions: Compositions = [],  # noqa: B006
) -> None:
    """Put modules of one or several networks together, without training: one network of the classes you name.

    `seam compose few --of parts --classes bag,dress,shirt` writes `compositions` in params.yaml and runs it;
    without --of and --classes what stands there is run. Modules that are not there yet are made first.
    """
    asked = {"of": listed(of), "classes": listed(classes)}
    flow, overrides = "flows.compose:run_compositions", entry_overrides(COMPOSITION, name, asked, overrides)
    run_kind(COMPOSITION, flow, overrides, params_file, named(name, compositions))


@app.command()
def patch(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of `patches`.", show_default=False)] = None,
    of: Of = None,
    of_class: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="That the model is weak at.", show_default=False)
    ] = None,
    weak: Annotated[
        str | None,
        typer.Option(
            "--weak",
            metavar="YAML",
            help="The weak model: keys of `prepare_source` that differ, as {checkpoint: null, epochs: 1}.",
            show_default=False,
        ),
    ] = None,
    overrides: Set = [],  # noqa: B006
    params_file: ParamsFile = None,
    patches: Patches = [],  # noqa: B006
) -> None:
    """Mend a model that is weak at a class by the module of that class out of another network; nothing is trained.

    `seam patch fix --of parts --class coat` writes `patches` in params.yaml and runs it; without --of
    and --class what stands there is run. Modules that are not there yet are made first.
    """
    asked = {"of": of, "class": of_class, "weak": weak}
    run_kind(
        PATCH,
        "flows.patch:run_patches",
        entry_overrides(PATCH, name, asked, overrides),
        params_file,
        named(name, patches),
    )


def listed(names: str | None) -> str | None:
    """A list in YAML of names with commas between them."""
    return None if names is None else f"[{names.strip('[]')}]"


def entry_overrides(kind: Kind, name: str | None, asked: dict[str, str | None], overrides: list[str]) -> list[str]:
    """The overrides, before them those that options stand for."""
    given = {key: value for key, value in asked.items() if value is not None}
    if given and name is None:
        raise ConfigError(
            f"expected a name with --{next(iter(given))}, got none; say which one of `{kind.section}` it is: seam"
            f" {kind.command} NAME ..."
        )
    return [*(f"{kind.section}.{name}.{key}={value}" for key, value in given.items()), *overrides]


def named(name: str | None, names: list[str]) -> list[str]:
    """Names of the subjects, with one that is given by itself."""
    return names if name is None else [*names, name]
