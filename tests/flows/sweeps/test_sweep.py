"""A sweep for real: scheduler, two workers in their own clones, MLflow, Prefect, a remote; one worker is killed."""

import subprocess
import sys
import urllib.request

import pytest
from mlflow import MlflowClient

from tests.drill.town import NAME, SEAM, Town, free_port, listens, wait_until

pytestmark = pytest.mark.slow
PROBLEMS = {"digit-0": ["0"], "low-digits": ["0", "1", "2"], "no-such": ["11"]}
"""The last cannot be done."""


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    town = Town(tmp_path_factory.mktemp("town"), PROBLEMS, workers=2)
    town.build()
    town.name_remote(url=str(town.folder / "remote"))
    mlflow, prefect = free_port(), free_port()
    database = f"sqlite:///{town.folder / 'mlflow.db'}"
    town.start(
        "mlflow", town.folder, sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(mlflow),
        "--backend-store-uri", database, "--artifacts-destination", str(town.folder / "artifacts"), "--workers", "1",
    )  # fmt: skip
    town.start("prefect", town.folder, sys.executable, "-m", "prefect", "server", "start", "--port", str(prefect))
    town.variables = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
    }
    try:
        town.start_scheduler()
        for number in range(2):
            town.start_worker(number)
        wait_until(lambda: listens(mlflow), 120, "MLflow")
        wait_until(lambda: answers(f"http://127.0.0.1:{prefect}/api/health"), 120, "Prefect")
        yield town
    finally:
        town.stop()


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=2).status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def swept(town):
    """The sweep, in the middle of which a worker is killed; then once more."""
    town.begin_sweep()
    wait_until(lambda: town.busy_with("search") is not None, 300, "a search")
    killed = town.busy_with("search")
    town.kill(town.clones[killed].name)
    first = town.end_sweep()
    town.start_worker(killed)
    before = len(town.events())
    town.begin_sweep()
    second = town.end_sweep()
    return first, second, before


def test_the_good_points_are_done_and_the_bad_one_fails_alone_in_a_line(town, swept):
    (status, said), _, _ = swept
    assert status == 1
    records = town.records()
    assert {key: record["state"] for key, record in records.items()} == {
        "digit-0": "done",
        "low-digits": "done",
        "no-such": "failed",
    }
    assert "no class '11'" in records["no-such"]["error"] or "11" in records["no-such"]["error"]
    assert "1 of 3 points failed: no-such" in said
    assert "Traceback" not in said


def test_what_the_killed_worker_did_is_not_lost_and_at_most_one_stage_is_done_again(town, swept):
    begun, kept = town.counted("begins"), town.counted("is kept")
    assert all(count == 1 for count in kept.values()), kept
    again = {stage: count for stage, count in begun.items() if count > 1 and "no-such" not in stage}
    assert len(again) <= 1, again
    assert all(count == 2 and stage.startswith("search") for stage, count in again.items()), again


def test_the_same_command_again_does_what_failed_alone(town, swept):
    _, (status, said), before = swept
    assert status == 1
    assert "2 of 3 points are done already" in said
    assert {stage for _, stage, _ in town.events()[before:]} <= {"split_dataset [no-such]"}


def test_every_result_is_registered_once_and_no_run_is_left_going_on(town, swept):
    client = MlflowClient(town.variables["MLFLOW_TRACKING_URI"])
    versions = client.search_model_versions()
    assert sorted((v.name, v.version) for v in versions) == [("seam-digit-0", "1"), ("seam-low-digits", "1")]
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert not [run.info.run_name for run in runs if run.info.status == "RUNNING"]
    parent = next(run for run in runs if run.data.tags.get("seam.sweep") == NAME)
    children = {
        r.data.tags["seam.point"]: r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    }
    assert {key: child.info.status for key, child in children.items()} == {
        "digit-0": "FINISHED",
        "low-digits": "FINISHED",
        "no-such": "FAILED",
    }
    assert children["digit-0"].data.metrics["accuracy"] == town.records()["digit-0"]["outcome"]["card"]["accuracy"]


def test_whoever_pulls_has_the_results_and_nothing_to_do(town, swept):
    town.call(town.lead, sys.executable, "-m", "dvc", "pull", "-q", "problems/digit-0/dvc.yaml", "dvc.yaml")
    said = town.call(town.lead, *SEAM, "run", "--problem", "digit-0")
    assert "✓" not in said.split("digit-0 (0)")[0], said


def test_status_and_page_are_there(town, swept):
    said = town.call(town.lead, *SEAM, "sweep", "status", NAME)
    assert "2 of 3 points done, 1 failed" in said
    page = (town.lead / "sweeps" / NAME / "report.html").read_text()
    assert "low-digits" in page


def refused(town, scheduler, variables):
    """The line of a sweep that cannot begin."""
    done = subprocess.run(
        [*SEAM, "sweep", "--scheduler", scheduler, "--name", "other"], cwd=town.lead,
        env={**town.environment(town.lead), **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    return done.stderr


def test_what_a_sweep_on_other_machines_lacks_is_one_line(town):
    said = refused(town, town.scheduler, {"MLFLOW_TRACKING_URI": f"sqlite:///{town.folder / 'own.db'}"})
    assert "need an MLflow server, got sqlite:///" in said
    said = refused(town, f"tcp://127.0.0.1:{free_port()}", {})
    assert "no scheduler answers at tcp://127.0.0.1:" in said
