"""The operator's four commands, for real on loopback: server, work pool, deploy, worker.

A scheduled run that completes, forms that refuse wrong values, and what a failed run sets off. The
stages are stubs: what is tested is that a schedule really leads to a run of our flow in a worker.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.operators import asked, client, deployment_id, environment, made, shell, wait_for, worker
from tests.flows.ran import stage_runs
from tests.stub_stages.sitecustomize import make_project

pytestmark = pytest.mark.slow

STUBS = Path(__file__).parents[1] / "stub_stages"
CRON = '- cron: "0 2 * * *"\n        timezone: UTC'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make_project(tmp_path / "project")
    text = (root / "prefect.yaml").read_text()
    assert CRON in text
    (root / "prefect.yaml").write_text(text.replace(CRON, "- interval: 20"))
    return root


def stop_schedule(api: str, deployment: str) -> None:
    """Its runs that are waiting go too: the worker takes one at a time."""
    client(api).post(f"/deployments/{deployment_id(api, deployment)}/pause_deployment").raise_for_status()


def test_a_scheduled_run_appears_and_completes(project: Path, tmp_path: Path) -> None:
    ours = environment(tmp_path, PYTHONPATH=str(STUBS), SEAM_NOTIFY=f"cat >> {tmp_path}/told.txt")
    with worker(project, ours, tmp_path) as api:
        for wrong in ({"problems": ["digit-4"]}, {"changes": {"search": {"alpha": -1}}}, {"changes": {"alpha": 1}}):
            refused = made(api, "seam-on-demand/on-demand", **wrong)
            assert refused.status_code in (409, 422), refused.text

        def ended() -> dict[str, object] | None:
            runs = asked(api, "flow_runs", flow_runs={"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}})
            return runs[0] if runs else None

        run = wait_for(ended, 150, "a scheduled run that ends", tmp_path)
        tasks = asked(api, "task_runs", task_runs={"flow_run_id": {"any_": [run["id"]]}})
        artifacts = asked(api, "artifacts", artifacts={"flow_run_id": {"any_": [run["id"]]}})
        stop_schedule(api, "seam-run/nightly")
        said = shell("prefect automation create --from-file automations.yaml", project, ours)
        names = {automation["name"] for automation in asked(api, "automations")}
        failing = made(api, "seam-on-demand/on-demand", changes={"search": {"structure": "hybrid", "method": "drift"}})
        assert failing.is_success, failing.text
        told = wait_for(
            lambda: (tmp_path / "told.txt").exists() and (tmp_path / "told.txt").read_text(), 150, "a notice", tmp_path
        )
    assert "Created 2 automation(s)" in said and len(names) == 3 and all(name.startswith("seam - ") for name in names)
    assert f"{failing.json()['name']} Failed: " in told and "structure hybrid needs method" in told
    assert failing.json()["id"] in told and told in (project / ".seam/notices.log").read_text()
    assert run["auto_scheduled"] and run["state"]["type"] == "COMPLETED", run["state"]["message"]
    assert run["state"]["message"] == "2 of 2 target problems done: digit-3, low-digits."
    names = {task["name"] for task in tasks}
    assert (
        len(names) == stage_runs(problems=2)
        and {"validate_data", "search [low-digits]", "register_model [digit-3]"} <= names
    )
    assert {"search-digit-3", "report-digit-3"} <= {a["key"] for a in artifacts}
    assert (project / "artifacts/digit-3/register_model/report.html").is_file()
