"""The flow of transfers, with stub stages: order, only what is new, what a failure leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.transfer import run_transfers
from tests.flows.ran import ran, task_states

TARGETS = [
    "targets={flowers: {kind: image_folder, path: flowers}, pets: {kind: npz, path: data/digits.npz}}",
    "transfer.methods=[standard, seam-50]",
]
ALL_TRANSFERS = [
    *(f"{stage}@{target}" for stage in ("validate_target", "fetch_source") for target in ("flowers", "pets")),
    *(
        f"{stage}@{target}{student}"
        for target in ("flowers", "pets")
        for stage, student in (
            ("attack_target", ""),
            ("transfer", "-standard-0"),
            ("transfer", "-seam-50-0"),
            ("compare_transfers", ""),
            ("register_transfer", ""),
        )
    ),
]


@pytest.fixture
def with_images(project: Path) -> Path:
    (project / "flowers").mkdir()
    (project / "flowers/image").write_text("stub")
    return project


def test_transfers_run_in_order_then_only_what_is_new(server: None, with_images: Path) -> None:
    state = run_transfers(TARGETS, return_state=True)
    assert state.is_completed() and state.message == "2 of 2 targets done: flowers, pets."
    assert ran(with_images) == ALL_TRANSFERS
    again = run_transfers(return_state=True)
    assert ran(with_images) == [] and set(task_states(again).values()) == {"Cached"}
    assert "transfer [flowers seam-50 seed 0]" in task_states(again)
    assert run_transfers(
        ["transfer.methods=[standard, seam-50, retrain]"], None, ["flowers"], return_state=True
    ).is_completed()
    assert ran(with_images) == ["transfer@flowers-retrain-0", "compare_transfers@flowers", "register_transfer@flowers"]
    (with_images / "mlflow/mlflow.db").unlink()
    assert run_transfers(None, None, ["flowers"], return_state=True).is_completed()
    assert ran(with_images) == ["register_transfer@flowers"]


def test_a_failing_student_leaves_the_others_and_a_failing_attack_the_other_targets(
    server: None, with_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAM_STUB", "transfer@flowers-standard-0=error,attack_target@pets=error")
    state = run_transfers(TARGETS, return_state=True)
    said = "2 of 2 targets failed or are incomplete: transfer [flowers standard seed 0]: transfer: expected"
    assert state.is_failed() and str(state.message).startswith(said)
    assert ran(with_images) == [*ALL_TRANSFERS[:5], "transfer@flowers-seam-50-0", "compare_transfers@flowers"]
    monkeypatch.delenv("SEAM_STUB")
    assert run_transfers(return_state=True).is_completed()
    assert ran(with_images) == [
        "transfer@flowers-standard-0",
        "compare_transfers@flowers",
        "register_transfer@flowers",
        *ALL_TRANSFERS[9:],
    ]


@pytest.mark.parametrize(
    ("overrides", "targets", "message"),
    [
        ([], [], "params.yaml has no target to transfer to; add one: seam transfer --set 'targets="),
        (TARGETS, ["flower"], "unknown target 'flower', expected one of: flowers, pets"),
        (["targets={flowers: {kind: image_folder, path: none}}"], [], "targets.flowers.path: "),
        (["transfer.methods=[sem]"], [], "did you mean 'seam'?"),
    ],
)
def test_transfers_that_cannot_begin_are_one_line(
    server: None, project: Path, overrides: list[str], targets: list[str], message: str
) -> None:
    state = run_transfers(overrides, None, targets, return_state=True)
    assert state.is_failed() and message in str(state.message) and "\n" not in str(state.message)
    assert ran(project) == []
