"""A sweep on the workers of this machine: nothing is set up, and the project has the results afterwards."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.defaults import write_params
from tests.drill.town import SEAM, SMALLER
from tests.flows.small_project import call, environment, make_small_project

pytestmark = pytest.mark.slow
SWEEP = ("sweep", "digit-0", "--set-grid", "search.target=0.1,0.2", "--workers", "1", "--name", "targets")


def seam(folder, *words, ok=True):
    done = subprocess.run(
        [*SEAM, *words], cwd=folder, env=variables(folder), capture_output=True, text=True, timeout=900, check=False
    )
    assert (done.returncode == 0) == ok, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def variables(folder):
    return {**environment(), "PYTHONPATH": str(folder), "COLUMNS": "160"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = make_small_project(tmp_path_factory.mktemp("local") / "project")
    write_params(folder / "params.yaml", **SMALLER)
    return folder


@pytest.fixture(scope="module")
def swept(project):
    """Begun, stopped in the middle by Ctrl-C, and begun again: what was said each time, and the parameters before."""
    before = (project / "params.yaml").read_text()
    process = subprocess.Popen(
        [*SEAM, *SWEEP],
        cwd=project,
        env=variables(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = project / ".seam/workers/0/.seam/seam.log"
    deadline = time.monotonic() + 300
    while not (log.is_file() and "search [digit-0]: begins" in log.read_text()):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    stopped = process.communicate(timeout=60)[0]
    return process.returncode, stopped, seam(project, *SWEEP), before


def test_ctrl_c_ends_it_and_all_its_workers(project, swept):
    status, said, _, _ = swept
    assert status == 130
    assert "interrupted; run again to continue" in said
    assert "Traceback" not in said


def test_no_process_is_left(project, swept):
    left = subprocess.run(["pgrep", "-f", str(project)], capture_output=True, text=True, check=False).stdout.split()
    assert [pid for pid in left if int(pid) != os.getpid()] == []


def test_it_goes_on_where_it_was(project, swept):
    log = (project / ".seam/workers/0/.seam/seam.log").read_text()
    assert log.count("prepare_source: begins") == log.count("prepare_source: is kept") == 1
    _, _, said, _ = swept
    assert "failed 0" in said


def test_the_page_and_the_records_have_both_settings(project, swept):
    files = (project / "sweeps/targets/points").glob("*.json")
    records = {record["key"]: record for record in map(json.loads, (f.read_text() for f in files))}
    assert sorted(records) == ["digit-0", "digit-0 search.target=0.2"]
    kept = {key: record["outcome"]["card"]["density"] for key, record in records.items()}
    assert kept["digit-0"] < kept["digit-0 search.target=0.2"]
    assert "search.target=0.2" in (project / "sweeps/targets/report.html").read_text()


def test_the_same_command_again_has_nothing_to_do(project, swept):
    assert "2 of 2 points are done already" in seam(project, *SWEEP)


def test_parameters_are_as_they_were_and_the_project_has_the_results(project, swept):
    assert (project / "params.yaml").read_text() == swept[3]
    said = seam(project, "run")
    assert "✓" not in said, said
    assert "up to date" in call(project, sys.executable, "-m", "dvc", "status").stdout


def test_another_setting_is_brought_into_the_project_without_computing(project, swept):
    said = seam(project, "run", "--set", "search.target=0.2")
    ran = [line.split()[1] for line in said.splitlines() if line.startswith("✓")]
    assert ran == ["register_model"]  # it asks the registry, which has it
    assert "version 2" in said
