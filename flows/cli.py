"""The `seam` command line."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import subprocess
import sys
import webbrowser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import flows  # noqa: F401  telemetry off before anything else is imported
from flows.project import log_to_file, project_root, state_folder
from seam.errors import ConfigError, SeamError
from tasks.project.environment import tracking_uri
from tasks.project.stages import KINDS, PROBLEM, TARGET

logger = logging.getLogger(__name__)

app = typer.Typer(
    name="seam",
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

Targets = Annotated[
    list[str],
    typer.Option(
        "--target",
        metavar="NAME",
        help="Only this data set of `targets`. Repeatable; default: every one.",
        show_default=False,
    ),
]


def main() -> None:
    """Entry point: every error a user can mend is one line on stderr and exit status 1; Ctrl-C is 130."""
    gc.set_threshold(
        100_000, 20, 100
    )  # the libraries make a million objects that stay: looking through them again and again costs seconds
    logging.getLogger().addHandler(
        logging.NullHandler()
    )  # until the project's log file is open, the terminal shows our one line only
    try:
        app(standalone_mode=True)
    except SeamError as e:
        logger.error("%s", e, exc_info=True)
        _complain(f"error: {' '.join(str(e).split())}")
        sys.exit(1)
    except Exception as e:
        logger.exception("unexpected error")
        _complain(
            f"error: unexpected {type(e).__name__}: {' '.join(str(e).split())}; the traceback is in .seam/seam.log,"
            " please report it."
        )
        sys.exit(1)


def _complain(line: str) -> None:
    Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(line)


@contextmanager
def _interruptible() -> Iterator[None]:
    """End with one line and status 130 on Ctrl-C; what was finished is kept."""
    try:
        yield
    except KeyboardInterrupt:
        _complain("interrupted; run again to continue")
        raise typer.Exit(130) from None


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


@app.command()
def run(overrides: Set = [], params_file: ParamsFile = None, problems: Problems = []) -> None:  # noqa: B006  typer needs the list
    """Run every stage that is not up to date, for each target problem, and show original vs re-engineered.

    Stages that DVC has already are skipped. Stop it any time: the next run continues.
    """
    from flows.commands.run import run_by_hand

    params_file = params_file.absolute() if params_file else None
    root = _enter_project()
    with _interruptible():
        raise typer.Exit(
            run_by_hand(root, PROBLEM, "flows.pipeline:run_pipeline", overrides, params_file, problems, Console())
        )


@app.command()
def transfer(overrides: Set = [], params_file: ParamsFile = None, targets: Targets = []) -> None:  # noqa: B006
    """Transfer a trained network to other data sets by several methods, and measure which of its defects come along.

    The data sets are `targets` in params.yaml, the methods and seeds `transfer`. Stop it any time:
    the next run continues.
    """
    from flows.commands.run import run_by_hand

    params_file = params_file.absolute() if params_file else None
    root = _enter_project()
    with _interruptible():
        raise typer.Exit(
            run_by_hand(root, TARGET, "flows.transfer:run_transfers", overrides, params_file, targets, Console())
        )


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def repro(context: typer.Context) -> None:
    """Run the same stages with `dvc repro`, without a server; further arguments go to it (seam repro --dry)."""
    from tasks.project.data_guard import check_data_unchanged
    from tasks.project.params import load_params

    root = _enter_project()
    params = load_params(root / "params.yaml")
    for data in (params.data, *params.targets.values()):
        if (root / data.path).exists():  # a fresh clone: `dvc repro --pull` brings the data
            check_data_unchanged(root, data.path)
    environment = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with _interruptible():
        raise typer.Exit(
            subprocess.run(
                [sys.executable, "-m", "dvc", "repro", *context.args], cwd=root, env=environment, check=False
            ).returncode
        )


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

    root = _enter_project()
    if each_class or superclasses is not None:
        typer.echo(extend_problems(root, each_class, superclasses))
        return
    for line in list_problems(root):
        typer.echo(line)


@app.command()
def status(problems: Problems = []) -> None:  # noqa: B006
    """Show which stages are up to date and what changed for the others, registered versions, and reports."""
    from flows.commands.status import show_status

    show_status(_enter_project(), problems, Console())


@app.command()
def report(
    problems: Problems = [],  # noqa: B006
    targets: Targets = [],  # noqa: B006
    open_it: Annotated[bool, typer.Option("--open", help="Open in the browser.")] = False,
) -> None:
    """Print the path of each report there is, of problems and of targets; or of those that are named."""
    from flows.preflight import reports_of
    from tasks.project.params import load_params

    root = _enter_project()
    named = {PROBLEM.name: problems, TARGET.name: targets}
    paths = reports_of(root, load_params(root / "params.yaml"), named)
    missing = [str(p.relative_to(root)) for p in paths if not p.is_file()]
    if any(named.values()) and missing:
        raise ConfigError(f"no report yet: {', '.join(missing)}; make it {_how_to_make(named)}.")
    if len(missing) == len(paths):
        raise ConfigError(f"no report yet; make it {_how_to_make(named)}.")
    for path in paths:
        if path.is_file():
            typer.echo(str(path))
            if open_it:
                webbrowser.open(path.as_uri())


def _how_to_make(kinds: Iterable[str]) -> str:
    """Which commands make the reports of these kinds of subjects."""
    return ", ".join(f"of a {kind} with `seam {KINDS[kind].command}`" for kind in kinds)


@app.command()
def doctor() -> None:
    """Show what this machine has (hardware, engines, servers, data) and what is missing.

    Exit status 1 if something required is.
    """
    from flows.commands.doctor import show_health

    raise typer.Exit(show_health(_enter_project(), Console()))


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
    root = _enter_project()
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
        str, typer.Option("--engines", metavar="A,B", help="Of deepsparse, onnxruntime, openvino.")
    ] = "deepsparse,onnxruntime,openvino",
    threads: Annotated[int, typer.Option("--threads", help="Every engine is pinned to.")] = 1,
    repeats: Annotated[int, typer.Option("--repeats", help="Timed calls of each model, taken in turn.")] = 100,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also show each model's operators by their time, on ONNX Runtime.")
    ] = False,
) -> None:
    """Time models side by side on this machine's engines, with confidence intervals, and the first against itself."""
    from flows.commands.bench import bench as time_models
    from seam.configs.inference import LatencyConfig
    from seam.inference.engines import LOADERS, QUANTIZED, TORCH

    asked = engines.split(",")
    known = [name for name in LOADERS if name not in (*TORCH, *QUANTIZED)]
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
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on 127.0.0.1.")] = 5001,
) -> None:
    """Serve a champion with `mlflow models serve`: POST images to /invocations, get class names."""
    from flows.registry_view import registered_model
    from tasks.project.params import load_params
    from tasks.project.subject import Subject, check

    root = _enter_project()
    params, uri = load_params(root / "params.yaml"), tracking_uri(root)
    given = {PROBLEM: problem, TARGET: target}
    named = [Subject(kind.name, name) for kind, name in given.items() if name is not None]
    if len(named) != 1:
        raise ConfigError(
            f"expected {' or '.join(f'--{kind.name} NAME' for kind in given)}, one of them; `seam status` lists what is"
            " registered."
        )
    check(params, named[0])
    name = named[0].registered_name(params)
    model = registered_model(uri, name)
    if model is not None and "champion" not in model.aliases:
        raise ConfigError(
            f"{name}: no version has the alias champion in {uri}; run `{named[0].command}`, `seam report` says what"
            " its gates found."
        )
    os.environ["MLFLOW_TRACKING_URI"] = uri
    arguments = [
        "models",
        "serve",
        "-m",
        f"models:/{name}@champion",
        "--env-manager",
        "local",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-w",
        "1",
    ]
    typer.echo(f"serving models:/{name}@champion on http://127.0.0.1:{port}/invocations; Ctrl-C stops it")
    sys.stdout.flush()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    mlflow = shutil.which("mlflow") or "mlflow"
    os.execv(mlflow, [mlflow, *arguments])


def _enter_project() -> Path:
    """Change into the project and send logs to its file."""
    root = project_root()
    os.chdir(root)
    state_folder(root)
    log_to_file(root)
    return root


if __name__ == "__main__":
    main()
