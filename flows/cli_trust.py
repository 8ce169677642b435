"""The commands of `seam` about where models come from: what each takes and says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.app import app, enter_project

PublicKeys = Annotated[
    list[Path],
    typer.Option(
        "--key",
        metavar="FILE",
        help="A public key that is trusted. Repeatable; default: mlflow/signing*.pub.",
        show_default=False,
    ),
]


@app.command()
def keys(
    replace: Annotated[
        bool, typer.Option("--replace", help="Make a new pair; what the old one signed stays trusted.")
    ] = False,
) -> None:
    """Make the pair of keys that model versions are signed with, or say where it is.

    The private key is in ~/.config/seam/keys, or in the folder that SEAM_KEYS names; the public one in
    mlflow/signing.pub, to be committed.
    """
    from flows.commands.verify import show_keys

    show_keys(enter_project(), replace)


@app.command()
def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@champion, models:/NAME/1, or a folder.")],
    keys: PublicKeys = [],  # noqa: B006
    source: Annotated[
        Path | None,
        typer.Option(
            "--source",
            metavar="FOLDER",
            help="With source.json and source.safetensors; default: that of the project.",
            show_default=False,
        ),
    ] = None,
    without_source: Annotated[
        bool, typer.Option("--without-source", help="Hold neither mask nor weights against the source.")
    ] = False,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", metavar="WHO", help="Signed by Sigstore, as whom; with --issuer.", show_default=False
        ),
    ] = None,
    issuer: Annotated[
        str | None, typer.Option("--issuer", metavar="URL", help="Who vouches for --identity.", show_default=False)
    ] = None,
) -> None:
    """Check a model version: its signature, its bill of materials, its mask, and its weights against the source.

    Exit status 1 if anything is not as it was signed; the file is named. docs/trust.md says what is
    proven.
    """
    from flows.commands.verify import verify_model

    here = Path.cwd()
    root = enter_project()
    folder = None if model.startswith("models:") else here / model
    given = None if source is None else here / source
    verify_model(root, folder or model, [here / k for k in keys], given, not without_source, (identity, issuer))


@app.command()
def rebuild(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A registered model, as seam-shirt.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Its number, or champion.")],
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Also one that is not signed: its parameters may name code to run.")
    ] = False,
) -> None:
    """Make a version again, in a fresh clone at its commit, from its parameters and the data in the DVC remote.

    Exit status 1 unless mask and outputs are the same; it says which package, code, data, parameter
    or machine differs.
    """
    from flows.commands.rebuild import rebuild_version

    root = enter_project()
    raise typer.Exit(rebuild_version(root, model, version, unsigned))
