"""Our arms: one pass of gradients, layouts chosen by worth and cost; and the search over single weights."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from duel.budget import remembered
from duel.task import ArmFunction, Made, NoLayoutError, Setting, Task
from duel.train import config_of, trained
from seam.configs.inference import ProfileConfig
from seam.configs.search import SearchConfig
from seam.masks.groups import channel_groups
from seam.masks.masks import apply_masks, density
from seam.masks.scores import masks_of
from seam.masks.unsearched import magnitude_mask
from seam.masks.widths import Layout, units_of
from seam.measures.macs import weight_macs
from seam.networks.head import Reengineered, TargetHead
from seam.networks.norms import put_norm_tensors
from seam.search.mask_search import MaskSearch
from seam.search.one_pass import RULES
from seam.search.portfolio import distinct
from seam.search.problem import SearchProblem
from seam.search.profile import Narrowed, time_layouts
from seam.search.time_table import TimeTable, load_times, save_times

_TRIES = 8
"""Targets that are tried until the measured time is the budget's."""
_CLOSE = 0.97
"""Of the budget: a layout that costs so much leaves nothing to look for."""
_BLOCK = 16


def one_pass(layouts: int, share: float = 1.0) -> ArmFunction:
    """The arm that tries so many layouts, a pass each, and takes that share of the passes in all."""

    def arm(task: Task, setting: Setting) -> Made:
        passes = round(share * task.passes)
        training = config_of(setting, 1)
        search = MaskSearch(_problem(task), _config(task, layouts), task.runtime, task.seed)
        search.loop.run()
        fitted = remembered(task, "layouts", lambda: _fitted(task, search))
        if not fitted:
            raise NoLayoutError("no layout within the budget by any rule")
        tried = search.try_layouts(distinct(fitted, layouts), training)
        best = tried[0]
        search.put_layout(best.layout)
        head = search.objective.head
        assert isinstance(head, TargetHead)
        masks = masks_of(search.objective.scored)
        model = Reengineered(copy.deepcopy(search.objective.network), copy.deepcopy(head)).cpu().eval()
        apply_masks(model.network, masks)
        trials = len(tried) * search.loop.config.trial_epochs if len(tried) > 1 else 0
        epochs = trained(task, model, setting, passes - 1 - trials, masks=masks)
        facts: dict[str, Any] = {"rules": list(best.rules), "widths": dict(best.layout), "tried": len(tried)}
        return Made(model, epochs, passes, facts=facts)

    return arm


def weights(task: Task, setting: Setting) -> Made:
    """Single weights by the product's search, down to the budget's density in half of the passes."""
    rounds = task.passes // 2
    config = SearchConfig(target=task.budget.share, max_rounds=rounds, accuracy_floor=0.0)
    result = MaskSearch(_problem(task), config, task.runtime, task.seed).run()
    model = Reengineered(copy.deepcopy(task.source.network), copy.deepcopy(result.head)).eval()
    apply_masks(model.network, result.masks)
    put_norm_tensors(model.network, result.norms)
    epochs = trained(task, model, setting, task.passes - rounds, masks=result.masks)
    return Made(model, epochs, task.passes, facts={"density": density(result.masks), "rounds": rounds})


def gradual(task: Task, setting: Setting) -> Made:
    """Single weights that leave one by one in the product's fine-tuning, without a search: the smallest."""
    model = task.original()
    last = magnitude_mask(model.network, task.budget.share)
    epochs = trained(task, model, setting, task.passes, masks=last, removed_weights="gradual")
    kept = {name: model.network.get_parameter(name) != 0 for name in last}
    return Made(model, epochs, task.passes, facts={"density": density(kept)})


def _config(task: Task, layouts: int) -> SearchConfig:
    return SearchConfig(
        method="one_pass",
        structure="channels",
        cost="milliseconds" if task.budget.unit == "ms" else "macs",
        channel_block=_BLOCK,
        target=task.budget.share,
        layouts=layouts,
        accuracy_floor=0.0,
    )


def _problem(task: Task) -> SearchProblem:
    source = task.source
    return SearchProblem(
        task.teacher(),
        source.preprocess(),
        task.train,
        task.val,
        task.target.num_classes,
        source_val_accuracy=0.0,
        weight_macs=weight_macs(source.network, source.example()),
        spare=task.spare,
        times=_times(task) if task.budget.unit == "ms" else None,
    )


def _times(task: Task) -> TimeTable:
    """What the source's widths cost on this machine: measured once for a network, whatever the problem."""
    folder = Path(tempfile.gettempdir()) if task.memory is None else task.memory.parents[1] / "times"
    path = folder / f"{task.source.info.sha256[:16]}.json"
    if not path.is_file():
        started = time.process_time()
        groups = channel_groups(task.source.network, task.example())
        with tempfile.TemporaryDirectory() as made:
            narrowed = Narrowed(task.source.network, task.example(1), groups, units_of(groups, _BLOCK), Path(made))
            save_times(time_layouts(narrowed, ProfileConfig(seconds=40.0), task.source.info.sha256), path)
        task.clock.seconds += time.process_time() - started  # measuring, once a network
    return load_times(path, task.source.info.sha256)


def _fitted(task: Task, search: MaskSearch) -> dict[str, Layout]:
    """Of each rule the layout whose measured cost is the budget's, or just below; rules without one are left out."""
    found = {rule: _fit(task, search, rule) for rule in RULES}
    return {rule: layout for rule, layout in found.items() if layout is not None}


def _fit(task: Task, search: MaskSearch, rule: str) -> Layout | None:
    one_pass, limit = search.one_pass, task.budget.share
    assert one_pass is not None
    seen: dict[str, float] = {}
    best: tuple[float, Layout] | None = None
    low, high, target = 0.0, 1.0, limit
    for _ in range(_TRIES):
        layout = dict(one_pass.layout(target, rule))
        one_pass.put(layout)
        model = task.original()
        apply_masks(model.network, masks_of(search.objective.scored))
        name = json.dumps(layout)
        spent = seen[name] = seen[name] if name in seen else task.spent(model)
        if spent <= limit:
            low = target
            best = max(best or (0.0, layout), (spent, layout), key=lambda pair: pair[0])
            if spent >= _CLOSE * limit:
                break
        else:
            high = target
        target = min(max(target * limit / spent, low + 0.1 * (high - low)), high - 0.1 * (high - low))
    return None if best is None else best[1]
