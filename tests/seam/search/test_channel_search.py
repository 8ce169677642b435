"""The search for channels, on a network small enough to know them by heart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seam.compaction import compact
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import SearchConfig
from seam.masks.masks import apply_masks
from seam.measures.macs import count, weight_macs
from seam.networks.head import Reengineered
from seam.networks.norms import put_norm_tensors
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.search.mask_search import MaskSearch
from seam.search.problem import SearchProblem
from seam.search.result import Round
from tests.seam.left_or_right import left_or_right
from tests.seam.masks.block import IMAGES, Block, seeded_block

CONFIG = SearchConfig(
    structure="channels",
    channel_block=1,
    cost="macs",
    target=0.3,
    batch_size=16,
    max_rounds=12,
    augment="none",
    accuracy_floor=0.0,
)
PREPROCESS = Preprocess((0.3,) * 3, (0.3,) * 3)
RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)


def _search(config: SearchConfig = CONFIG) -> MaskSearch:
    network = seeded_block()
    macs = weight_macs(network, torch.zeros(1, 3, 8, 8))
    problem = SearchProblem(network, PREPROCESS, left_or_right(0), left_or_right(1), 2, 0.9, macs)
    return MaskSearch(problem, config, RUNTIME, 3)


def test_a_search_over_channels_keeps_the_accuracy_and_the_target() -> None:
    result, network = _search().run(), seeded_block()
    assert result.best.val_accuracy >= 0.9
    apply_masks(network, result.masks)
    put_norm_tensors(network, result.norms)
    model = Reengineered(network, result.head)
    assert accuracy(predict(model, left_or_right(1), PREPROCESS), left_or_right(1).labels) == result.best.val_accuracy
    before, after = (count(n, torch.zeros(1, 3, 8, 8)).macs_dense for n in (Block(), compact(network, IMAGES).module))
    assert after < 0.45 * before  # 0.3 of the layers' multiply-adds; norms and pooling are counted too


def test_a_killed_search_over_channels_continues_to_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)

    def stop(found: Round) -> None:
        if found.round == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _search().run(tmp_path / "state", stop)
    resumed, whole = _search().run(tmp_path / "state"), _search().run()
    assert resumed.rounds == whole.rounds
    assert all(torch.equal(resumed.masks[k], whole.masks[k]) for k in whole.masks)


def test_structure_needs_a_budget() -> None:
    with pytest.raises(ValueError, match="structure channels needs method budget or one_pass"):
        replace(CONFIG, method="drift")
