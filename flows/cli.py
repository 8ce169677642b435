"""The commands of `seam`: what each takes and says of itself; what it does is in `flows.commands`."""

from __future__ import annotations

import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import flows.cli_parts  # further commands; telemetry off before anything else is imported
import flows.cli_registry
import flows.cli_select
import flows.cli_servers
import flows.cli_sweep
import flows.cli_trust
import flows.cli_undo  # noqa: F401
from flows.app import app, enter_project, main, run_kind
from flows.commands.options import (
    Compositions,
    Here,
    Modularizations,
    ParamsFile,
    Patches,
    Problems,
    Restructurings,
    Selections,
    Set,
    Targets,
)
from seam.errors import ConfigError
from tasks.project.stages import COMPOSITION, MODULARIZATION, PATCH, PROBLEM, RESTRUCTURING, SELECTION, TARGET


@app.command()
def run(
    overrides: Set = [],  # noqa: B006  typer needs the list
    params_file: ParamsFile = None,
    problems: Problems = [],  # noqa: B006
    everything: Annotated[
        bool, typer.Option("--everything", help="Also what else params.yaml names: transfers, compositions, patches...")
    ] = False,
    here: Here = False,
) -> None:
    """Run every stage that is not up to date, for each target problem, and show original vs re-engineered.

    Stages that DVC has already are skipped. Stop it any time: the next run continues.
    """
    if everything and problems:
        raise ConfigError("--everything runs all that params.yaml names, and --problem one of it; give one of them.")
    if everything:
        run_kind(None, "flows.everything:run_everything", overrides, params_file, [], here=here)
    run_kind(PROBLEM, "flows.pipeline:run_pipeline", overrides, params_file, problems, here=here)


@app.command()
def transfer(overrides: Set = [], params_file: ParamsFile = None, targets: Targets = []) -> None:  # noqa: B006
    """Transfer a trained network to other data sets by several methods, and measure which of its defects come along.

    The data sets are `targets` in params.yaml, the methods and seeds `transfer`. Stop it any time:
    the next run continues.
    """
    run_kind(TARGET, "flows.transfer:run_transfers", overrides, params_file, targets)


@app.command()
def restructure(overrides: Set = [], params_file: ParamsFile = None, restructurings: Restructurings = []) -> None:  # noqa: B006
    """Take redundant blocks out of the source, or train again those that need it (DeepArc).

    Each of `restructurings` in params.yaml is one way to do so; the result can be the source of `seam
    run`. Stop it any time: the next run continues.
    """
    run_kind(RESTRUCTURING, "flows.restructure:run_restructurings", overrides, params_file, restructurings)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def repro(context: typer.Context) -> None:
    """Run the same stages with `dvc repro -P`, without a server; further arguments go to it (seam repro --dry)."""
    from flows.commands.repro import reproduce

    root = enter_project()
    raise typer.Exit(reproduce(root, context.args))


@app.command()
def problems(
    each_class: Annotated[
        bool,
        typer.Option(
            "--every-class", help="Add one problem for each class of the data set: that class against the rest."
        ),
    ] = False,
    superclasses: Annotated[
        str | None,
        typer.Option(
            "--superclasses", metavar="SET", help="Add the published superclasses of a data set: cifar100 or imagenet."
        ),
    ] = None,
) -> None:
    """List the target problems in params.yaml, or add many at once."""
    from flows.commands.problems import extend_problems, list_problems

    root = enter_project()
    if each_class or superclasses is not None:
        typer.echo(extend_problems(root, each_class, superclasses))
        return
    for line in list_problems(root):
        typer.echo(line)


@app.command()
def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Show the card of this one.", show_default=False)
    ] = None,
) -> None:
    """List the methods, or show one's card.

    What it does, when to use it, how it differs from its paper, what was published, claimed and
    measured.
    """
    from flows.commands.methods import list_methods, show_method

    for line in list_methods() if name is None else show_method(name):
        typer.echo(line)


@app.command()
def status(problems: Problems = []) -> None:  # noqa: B006
    """Show which stages are up to date and what changed for the others, registered versions, and reports."""
    from flows.commands.status import show_status

    show_status(enter_project(), problems, Console())


@app.command()
def report(
    problems: Problems = [],  # noqa: B006
    targets: Targets = [],  # noqa: B006
    restructurings: Restructurings = [],  # noqa: B006
    modularizations: Modularizations = [],  # noqa: B006
    compositions: Compositions = [],  # noqa: B006
    patches: Patches = [],  # noqa: B006
    selections: Selections = [],  # noqa: B006
    open_it: Annotated[bool, typer.Option("--open", help="Open in the browser.")] = False,
) -> None:
    """Print the path of each report there is, of whatever kind; or of those that are named."""
    from flows.commands.report import existing_reports

    names = {PROBLEM.name: problems, TARGET.name: targets, RESTRUCTURING.name: restructurings}
    names |= {MODULARIZATION.name: modularizations, COMPOSITION.name: compositions, PATCH.name: patches}
    names |= {SELECTION.name: selections}
    for path in existing_reports(enter_project(), names):
        typer.echo(str(path))
        if open_it:
            webbrowser.open(path.as_uri())


@app.command()
def doctor() -> None:
    """Show what this machine has (hardware, engines, servers, data) and what is missing.

    Exit status 1 if something required is.
    """
    from flows.commands.doctor import show_health

    raise typer.Exit(show_health(enter_project(), Console()))


@app.command()
def check() -> None:
    """Look at the network of `prepare_source` before anything is computed: what it gives, and what can be removed.

    Exit status 1 if it cannot be worked on.
    """
    from flows.commands.check import show_check_up

    raise typer.Exit(show_check_up(enter_project(), Console()))


@app.command()
def materialize(
    problem: Annotated[str, typer.Option("--problem", metavar="NAME", help="Of params.yaml.", show_default=False)],
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="What to write: FILE.safetensors or FILE.onnx.", show_default=False)
    ],
) -> None:
    """Build a problem's re-engineered network from the shared source and its own mask, head and norms."""
    from tasks.inputs.materialize import materialize as build
    from tasks.project.params import load_params

    path = path.resolve()
    root = enter_project()
    typer.echo(build(root, load_params(root / "params.yaml"), problem, path))


@app.command()
def bench(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...", help="An .onnx file, or models:/NAME@champion. The others are compared with the first."
        ),
    ],
    batches: Annotated[str, typer.Option("--batch", metavar="1,16", help="Batch sizes.")] = "1,16",
    engines: Annotated[
        str | None,
        typer.Option("--engines", metavar="A,B", help="Default: all that take an ONNX file.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Every engine is pinned to.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", help="Timed calls of each model, taken in turn.")] = 100,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also show each model's operators by their time, on ONNX Runtime.")
    ] = False,
) -> None:
    """Time models side by side on this machine's engines, with confidence intervals, and the first against itself."""
    from flows.commands.bench import bench as time_models
    from seam.configs.inference import LatencyConfig
    from seam.inference.engines import engines_that_take

    known = engines_that_take("onnx")
    asked = engines.split(",") if engines else known
    if not set(asked) <= set(known) or not all(b.isdigit() for b in batches.split(",")):
        raise ConfigError(
            f"expected --engines of {', '.join(known)} and --batch with whole numbers, got {engines} and {batches}."
        )
    try:
        config = LatencyConfig(
            engines=tuple(asked),  # type: ignore[arg-type]
            batch_sizes=tuple(map(int, batches.split(","))),
            num_threads=threads,
            repeats=repeats,
        )
    except ValueError as e:
        raise ConfigError(str(e)) from e
    time_models(models, config, 0, profile, Console() if sys.stdout.isatty() else Console(width=120))


@app.command()
def serve(
    problem: Annotated[
        str | None,
        typer.Option(
            "--problem", metavar="NAME", help="The target problem whose champion to serve.", show_default=False
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="NAME", help="The data set whose champion to serve.", show_default=False),
    ] = None,
    restructuring: Annotated[
        str | None,
        typer.Option("--restructuring", metavar="NAME", help="Whose champion to serve.", show_default=False),
    ] = None,
    composition: Annotated[
        str | None, typer.Option("--composition", metavar="NAME", help="Whose champion to serve.", show_default=False)
    ] = None,
    patch: Annotated[
        str | None, typer.Option("--patch", metavar="NAME", help="Whose champion to serve.", show_default=False)
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; this machine alone unless given.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port.")] = 5001,
    max_megabytes: Annotated[
        float | None, typer.Option("--max-megabytes", min=0.001, help="Of one request; 16 unless given.")
    ] = None,
    max_images: Annotated[
        int | None, typer.Option("--max-images", min=1, help="Of one request; 1000 unless given.")
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Only what a key of the project has signed; see `seam verify`.")
    ] = False,
) -> None:
    """Serve a champion: POST images to /invocations, get class names.

    As numbers from 0 to 255 in JSON, or as PNG and JPEG files. With SEAM_SERVE_TOKEN in the
    environment, whoever asks has to send it.
    """
    from flows.commands.serve import Listening, serve_champion

    names = {PROBLEM.name: problem, TARGET.name: target, RESTRUCTURING.name: restructuring}
    names |= {COMPOSITION.name: composition, PATCH.name: patch}
    serve_champion(enter_project(), names, Listening(host, port, max_megabytes, max_images), verified)


if __name__ == "__main__":
    main()
