"""Every round of these tests is saved, whatever the time."""

import pytest


@pytest.fixture(autouse=True)
def _every_round_is_saved(monkeypatch):
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
