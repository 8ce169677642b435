"""Champion and challenger on a real store: who has the alias after each version, and what hands can do."""

from __future__ import annotations

import io
import itertools
import json
import random
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from flows.commands.versions import show_versions
from seam.errors import ConfigError
from tasks.tracking.aliases import Aliases, Model
from tasks.tracking.by_hand import promote_version, roll_back_version, versions
from tasks.tracking.contest import STANDING
from tasks.tracking.gates import Verdict
from tasks.tracking.policy import RegistryPolicy
from tasks.tracking.settling import Settled, settle
from tests.defaults import give_registry
from tests.tasks.tracking.test_contest import POLICY, standing

NAME = "seam-zero"
MET, MISSED = [Verdict("accuracy_drop", True, "fine")], [Verdict("accuracy_drop", False, "worse")]
ALIASES = Aliases("champion", "challenger")


class Registry:
    """A store with one registered model, whose versions are made as a registration makes them, without files."""

    def __init__(self, root: Path) -> None:
        uri = f"sqlite:///{root}/mlflow/mlflow.db"
        self.root, self.client = root, MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.client.create_registered_model(NAME)

    def add(self, accuracy: float, verdicts: list[Verdict] = MET, inherited: float = 0.1) -> Settled:
        """A new version, judged."""
        made = self.client.create_model_version(NAME, "nowhere", await_creation_for=None)
        return self.judge(int(made.version), accuracy, verdicts, inherited)

    def judge(
        self, number: int, accuracy: float, verdicts: list[Verdict] = MET, inherited: float = 0.1,
        policy: RegistryPolicy = POLICY,
    ) -> Settled:  # fmt: skip
        """A version that is there, judged again."""
        known = standing(accuracy, inherited)
        self.client.set_model_version_tag(NAME, str(number), STANDING, known.as_tag())
        return settle(self.model(), number, verdicts, known, policy)

    def model(self) -> Model:
        return Model(self.client, NAME, ALIASES)

    @property
    def holders(self) -> dict[str, int]:
        return self.model().holders


@pytest.fixture
def registry(tmp_path: Path, empty_mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    give_registry(tmp_path, empty_mlflow_store)
    return Registry(tmp_path)


def test_the_first_that_meets_its_gates_is_champion(registry: Registry) -> None:
    missed = registry.add(0.99, MISSED)
    assert (missed.promoted, missed.champion, missed.aliases) == (False, None, ["challenger"])
    first = registry.add(0.90)
    assert (first.promoted, first.champion, first.aliases) == (True, 2, ["champion"])
    assert registry.holders == {"challenger": 1, "champion": 2}


def test_a_challenger_takes_the_alias_when_it_is_better_and_says_why_not(registry: Registry) -> None:
    registry.add(0.90)
    noise = registry.add(0.905)
    assert registry.holders == {"champion": 1, "challenger": 2}
    assert noise.why == "version 1 stays: better_than_champion not met"
    assert "[-2.1, +3.1] points" in noise.against_champion[0]["text"]
    better = registry.add(0.95)
    assert better.promoted and better.why == "better than version 1: accuracy"
    assert registry.holders == {"champion": 3, "challenger": 2}
    assert registry.add(0.99, inherited=0.6).champion == 3, "more accurate, and more defects"
    assert [line.did for line in registry.model().trace(1)] == ["champion", "gave way to 3"]


def test_a_champion_that_misses_a_gate_stays_with_a_doubt_until_something_better_comes(registry: Registry) -> None:
    registry.add(0.90)
    registry.add(0.95)
    again = registry.judge(2, 0.95, MISSED)
    assert again.promoted and again.aliases == ["champion"]
    assert again.doubt is not None and "no longer meets accuracy_drop" in again.doubt
    assert registry.add(0.99, MISSED).champion == 2, "that meets no gate either"
    assert registry.model().doubt(2) == "gates not met: accuracy_drop"
    assert registry.judge(2, 0.95).doubt is None and registry.model().doubt(2) == ""
    registry.judge(2, 0.95, MISSED)
    assert registry.add(0.94).champion == 4, "it meets its gates"
    assert registry.holders["champion"] == 4


def test_a_champion_of_an_older_seam_stays_until_someone_decides(registry: Registry) -> None:
    registry.client.create_model_version(NAME, "nowhere", await_creation_for=None)
    registry.client.set_registered_model_alias(NAME, "champion", "1")
    new = registry.add(0.99)
    assert new.champion == 1 and "an older seam registered version 1" in new.why
    registry.judge(1, 0.90)
    assert registry.judge(2, 0.99).champion == 2
    assert roll_back_version(registry.root, NAME, None, "?").startswith(f"models:/{NAME}@champion is version 1 ")


def test_rollback_goes_back_step_by_step_and_is_not_undone_by_itself(registry: Registry) -> None:
    for accuracy in (0.80, 0.85, 0.90, 0.95):
        registry.add(accuracy)
    assert registry.holders["champion"] == 4
    said = roll_back_version(registry.root, NAME, None, "it fails at night")
    assert said.startswith(f"models:/{NAME}@champion is version 3 (before: version 4); versions up to 4 do not take")
    assert registry.judge(4, 0.95).champion == 3, "registered again, nightly"
    roll_back_version(registry.root, NAME, None, "worse still")
    assert registry.holders["champion"] == 2
    line = registry.model().trace(2)[-1]
    assert (
        (line.did, line.why) == ("champion again", "worse still") and "@" in line.who and line.when.endswith("+00:00")
    )
    assert registry.add(0.99).champion == 5, "a later one may"
    roll_back_version(registry.root, NAME, 1, "the first")
    assert registry.holders["champion"] == 1
    with pytest.raises(ConfigError, match="expected a version that was @champion before, got none"):
        roll_back_version(registry.root, NAME, None, "?")


def test_promoting_by_hand(registry: Registry) -> None:
    registry.add(0.90)
    registry.add(0.905)
    registry.add(0.95, MISSED)
    assert promote_version(registry.root, f"models:/{NAME}@champion", 2, "asked for", force=False)
    assert registry.holders == {"champion": 2, "challenger": 3}
    with pytest.raises(ConfigError, match="version 3: expected one that meets its gates, got: gates not met: acc"):
        promote_version(registry.root, NAME, 3, "?", force=False)
    said = promote_version(registry.root, NAME, 3, "all the same", force=True)
    assert "it misses its gates (gates not met: accuracy_drop)" in said
    assert registry.judge(2, 0.905).champion == 3, "by hand, over version 2"
    assert registry.add(0.905).champion == 4, "meets its gates, which the champion does not"
    with pytest.raises(ConfigError, match="version 9: no such version; there are: 1, 2, 3, 4"):
        promote_version(registry.root, NAME, 9, "?", force=True)
    registry.add(0.5, MISSED)
    with pytest.raises(
        ConfigError, match="version 5: expected one that was @champion before, it was not; seam promote"
    ):
        roll_back_version(registry.root, NAME, 5, "?")


def test_versions_are_listed_with_gates_digests_and_moves(registry: Registry) -> None:
    registry.add(0.90)
    registry.add(0.95, MISSED)
    registry.client.set_model_version_tag(NAME, "1", "seam.result_sha256", "f" * 64)
    second, first = versions(registry.root, NAME)
    assert (second["version"], second["aliases"], second["gates"]) == (2, ["challenger"], {"accuracy_drop": False})
    assert (first["aliases"], first["gates"]) == (["champion"], {"accuracy_drop": True})
    assert first["digests"] == {"result_sha256": "f" * 64} and first["date"].endswith("+00:00")
    (move,) = first["trace"]
    assert (move["number"], move["did"], move["why"]) == (1, "champion", "the first that meets the gates")
    with pytest.raises(
        ConfigError, match="nobody: expected a registered model, the registry has no such one; it has seam-zero"
    ):
        versions(registry.root, "nobody")


def test_the_best_of_eight_is_champion_in_whatever_order_they_come(
    registry: Registry, empty_mlflow_store: Path, tmp_path: Path
) -> None:
    accuracies = [0.60 + 0.05 * i for i in range(8)]
    orders = [accuracies, accuracies[::-1], *(random.Random(i).sample(accuracies, 8) for i in range(4))]
    for i, order in enumerate(orders):
        (tmp_path / str(i)).mkdir()
        give_registry(tmp_path / str(i), empty_mlflow_store)
        here = Registry(tmp_path / str(i))
        for accuracy, verdicts in itertools.product([0.99], [MISSED]):
            here.add(accuracy, verdicts)  # better, and misses a gate
        champions = [here.add(accuracy).champion for accuracy in order]
        best = [max(order[: n + 1]) for n in range(8)]
        assert [order[(champion or 0) - 2] for champion in champions] == best, "never worse, at any moment"
        shutil.rmtree(tmp_path / str(i))


def test_a_move_that_was_not_noted_is_noted_later(registry: Registry) -> None:
    """As after a kill between the two."""
    registry.add(0.90)
    registry.add(0.905)
    registry.client.set_registered_model_alias(NAME, "champion", "2")
    registry.judge(2, 0.905)
    (line,) = registry.model().trace(2)
    assert (line.number, line.did) == (2, "champion") and "not noted" in line.why
    assert registry.model().before() == 1


def test_the_challenger_is_the_newest(registry: Registry) -> None:
    for accuracy in (0.95, 0.90, 0.91):
        registry.add(accuracy)
    registry.judge(2, 0.90)
    assert registry.holders == {"champion": 1, "challenger": 3}


def test_the_table_of_versions(registry: Registry) -> None:
    registry.add(0.90)
    registry.add(0.95, MISSED)
    console = Console(width=200, record=True, file=io.StringIO())
    show_versions(registry.root, f"models:/{NAME}", console, as_json=False)
    _, *rows = [line for line in console.export_text().splitlines() if "@" in line]
    assert "@champion" in rows[0] and " met " in rows[0] and ": champion (the first that meets the gates)" in rows[0]
    show_versions(registry.root, NAME, console, as_json=True)
    assert [row["version"] for row in json.loads(console.export_text())] == [2, 1]
