"""The command line: what it explains, and how it fails: one line, a non-zero status, no traceback, nothing written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import flows.app
from tests.flows.ran import stage_runs
from tests.stub_stages.sitecustomize import make_project

STUBS = Path(__file__).parents[1] / "stub_stages"


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for commands that must not change it."""
    return make_project(tmp_path_factory.mktemp("cli") / "project")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


def seam(cwd: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in `cwd` with stub stages."""
    with begun(cwd, *arguments, **variables) as process:
        out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def begun(cwd: Path, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start the command in `cwd` with stub stages."""
    dropped = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "TQDM_DISABLE")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    environment |= {
        "DVC_SITE_CACHE_DIR": str(cwd.parent / "site"),
        "PYTHONPATH": f"{cwd}{os.pathsep}{STUBS}",
        "COLUMNS": "160",
        **variables,
    }
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "artifacts/x"),
            "artifacts/x cannot be read or written: it is read",
        ),
        (ZeroDivisionError("a bug"), "unexpected ZeroDivisionError: a bug; the traceback is in .seam/seam.log"),
    ],
)
def test_what_comes_from_the_machine_is_told_from_a_bug(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(**_: object) -> None:
        raise error

    monkeypatch.setattr("flows.app.app", fails)
    for name in ("guard", "gc.set_threshold"):
        monkeypatch.setattr(f"flows.app.{name}", lambda *_: None)
    with pytest.raises(SystemExit) as ended:
        flows.app.main()
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1 and line.startswith("error: ") and said in line


def test_help_lists_every_command_and_option(shared_project: Path) -> None:
    text = seam(shared_project, "--help").stdout
    assert all(
        command in text
        for command in (
            "run",
            "transfer",
            "restructure",
            "repro",
            "status",
            "report",
            "doctor",
            "check",
            "serve",
            "--version",
        )
    )
    text = seam(shared_project, "run", "--help").stdout
    assert all(option in text for option in ("--set", "KEY=VALUE", "search.alpha=0.5", "--params", "--problem"))


def test_version(shared_project: Path) -> None:
    done = seam(shared_project, "--version")
    assert done.returncode == 0 and done.stdout.startswith("seam ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--set", "search.alpa=1"], "unknown parameter 'search.alpa'; did you mean 'search.alpha'?"),
        (["run", "--set", "search.alpha=-1"], "alpha must be >= 0, got -1"),
        (["run", "--set", "search.alpha"], "expected KEY=VALUE"),
        (["run", "--problem", "digit-4"], "unknown problem 'digit-4', expected one of: digit-3, low-digits"),
        (["run", "--params", "none.yaml"], "none.yaml: no such parameter file"),
        (["transfer"], "params.yaml has no target to transfer to; add one: seam transfer --set"),
        (
            ["transfer", "--set", "transfer.methods=[seam-0]"],
            "expected seam-PERCENT with a whole number from 1 to 99, got 'seam-0'",
        ),
        (["report"], "no report yet"),
        (["report", "--problem", "digit-3"], "no report yet: artifacts/digit-3/register_model/report.html"),
        (["report", "--target", "roses"], "params.yaml has no target to transfer to; add one"),
        (["serve", "--problem", "digit-3"], "no version has the alias champion"),
        (["versions", "nobody"], "nobody: expected a registered model, the registry has no such one; nothing is reg"),
        (["promote", "seam-digit-3", "1"], "seam-digit-3: expected a registered model"),
        (["rollback", "models:/seam-digit-3@champion"], "seam-digit-3: expected a registered model"),
        (["serve"], "--restructuring NAME or --composition NAME or --patch NAME, one of them"),
    ],
)
def test_a_user_error_is_one_line_and_changes_nothing(shared_project: Path, arguments: list[str], line: str) -> None:
    before = (shared_project / "params.yaml").read_bytes()
    done = seam(shared_project, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1 and line in done.stderr
    assert (shared_project / "params.yaml").read_bytes() == before
    assert not (shared_project / "artifacts").exists()


def test_not_a_project(shared_project: Path, tmp_path: Path) -> None:
    done = seam(tmp_path, "run", PYTHONPATH=str(shared_project))
    assert done.returncode == 1
    assert "expected a seam project" in done.stderr and "Traceback" not in done.stderr and done.stderr.count("\n") == 1


def test_named_servers_that_do_not_answer(shared_project: Path) -> None:
    done = seam(shared_project, "run", MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "MLflow server at http://127.0.0.1:9 does not answer" in done.stderr
    done = seam(shared_project, "run", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "Prefect server at http://127.0.0.1:9/api does not answer" in done.stderr


@pytest.mark.slow
def test_stopped_runs_continue_to_the_closing_summary(project: Path) -> None:
    """The whole command, with a server of its own: interrupted, crashed, finished from a subfolder.

    Then what DVC, report and status say.
    """
    interrupted = seam(project, "run", SEAM_STUB="finetune@digit-3=interrupt")
    assert interrupted.returncode == 130 and interrupted.stderr == "interrupted; run again to continue\n"
    failed = seam(project, "run", SEAM_STUB="finetune@low-digits=crash")
    assert failed.returncode == 1 and failed.stderr.count("\n") == 1
    assert "finetune [low-digits]: unexpected ZeroDivisionError: a bug; the traceback is in" in failed.stderr
    assert "Traceback" in (project / ".seam/seam.log").read_text()
    done = seam(project / "flows", "run", PYTHONPATH=f"{project}{os.pathsep}{STUBS}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "✓ finetune [low-digits]" in done.stdout and "= search [digit-3]" in done.stdout
    assert (
        "weights (non-zero)" in done.stdout
        and "models:/seam-digit-3/1 @champion" in done.stdout
        and "seam serve --problem digit-3" in done.stdout
    )
    ran = (project / "ran.txt").read_text().splitlines()
    assert len(ran) == stage_runs(problems=2) == len(set(ran))
    assert "up to date" in seam(project, "repro").stdout
    served = (project / ".seam/prefect_server.log").stat().st_mtime_ns
    idle = seam(project, "run", "--here")
    assert idle.returncode == 0 and "= search [digit-3]" in idle.stdout and "✓" not in idle.stdout
    assert "models:/seam-digit-3/1 @champion" in idle.stdout
    assert (project / ".seam/prefect_server.log").stat().st_mtime_ns == served  # no server for nothing to do
    assert seam(project, "report").stdout.splitlines() == [
        str(project / f"artifacts/{p}/register_model/report.html") for p in ("digit-3", "low-digits")
    ]
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(text.replace("epochs: 10", "epochs: 11"))
    shown = seam(project, "status").stdout
    assert (
        "finetune" in shown and "finetune.epochs modified" in shown.replace("\n", " ")
    ) or "finetune modified" in shown


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_is_stopped_even_inside_a_library_that_no_signal_reaches(
    project: Path, number: signal.Signals, status: int
) -> None:
    with begun(project, "run", SEAM_STUB="validate_data=stuck") as process:
        while not (project / "stuck.txt").is_file():
            assert process.poll() is None
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        begin = time.monotonic()
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=10)
        seconds = time.monotonic() - begin
    assert process.returncode == status and err == "interrupted; run again to continue\n"
    assert not alive and len(children) >= 2  # the stage's own, and the server
    assert seconds < 10


def test_nothing_heavy_is_imported_for_a_run_without_work(project: Path) -> None:
    code = (
        "import sys, flows.commands.run, flows.pipeline, flows.cli; print(sorted({'torch', 'mlflow',"
        " 'great_expectations'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout == "[]\n"
