"""The training that every student gets, and what becomes of a killed one."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.configs.training import StudentTraining
from seam.errors import ConfigError, SuspectResultWarning
from seam.methods.protocol import Target, Watch, fresh_student
from seam.methods.student_training import train_student
from seam.methods.transfer import transfer
from seam.networks.predict import accuracy, predict
from seam.networks.student import fit_classifier
from seam.training.spatial_dropout import spatial_dropout
from tests.seam.methods.small import CONFIG, RUNTIME, SEARCH, TRAINING, begin


def test_sgd_by_hand_with_label_smoothing(source: nn.Module, target: Target) -> None:
    """One full batch: a plain SGD step with one rate for the body and another for the classifier."""
    training = StudentTraining(
        epochs=1,
        lr=0.01,
        lr_head=0.2,
        weight_decay=0.1,
        batch_size=90,
        augment="none",
        label_smoothing=0.1,
        keep="last",
    )
    learner = fresh_student(source, target, 0)
    reference = copy.deepcopy(learner).train()
    train_student(learner, None, target, training, RUNTIME, 0)
    log_p = reference(target.preprocess(target.train.images)).log_softmax(1)
    wanted = 0.9 * F.one_hot(target.train.labels, 3) + 0.1 / 3
    (-(wanted * log_p).sum(1).mean()).backward()
    for name, p in reference.network.named_parameters():
        step = (0.2 if name.startswith("fc") else 0.01) * (p.grad + 0.1 * p.detach())
        assert torch.allclose(learner.network.get_parameter(name), p.detach() - step, atol=1e-5), name


@pytest.mark.filterwarnings("ignore:transfer. the student is at chance")
def test_best_and_last_epoch(source: nn.Module, target: Target) -> None:
    wild = replace(TRAINING, lr=1.0, lr_head=1.0, epochs=1)
    for keep in ("best", "last"):
        done = transfer("standard", source, target, replace(CONFIG, training=replace(wild, keep=keep)), RUNTIME, 0)
        reached = accuracy(predict(done.student, target.val, target.preprocess), target.val.labels)
        every = [e.val_accuracy for e in done.epochs]
        assert reached == (max(every) if keep == "best" else every[-1])
    assert every[-1] < max(every)  # the two differ


def test_a_fitted_head_starts_where_the_masked_networks_features_allow(source: nn.Module, target: Target) -> None:
    training = replace(TRAINING, epochs=0, head_start="fitted")
    done = transfer("magnitude", source, target, replace(CONFIG, training=training), RUNTIME, 0)
    wanted = begin("magnitude", source, target, CONFIG).student
    fit_classifier(wanted, target.preprocess, target.train)
    assert all(torch.equal(v, wanted.state_dict()[k]) for k, v in done.student.state_dict().items())
    assert done.epochs[0].val_accuracy > 0.9


def test_a_student_at_chance_is_named(source: nn.Module, target: Target) -> None:
    with pytest.warns(SuspectResultWarning, match=r"at chance: 33\.33% on val, .* gives 33\.33%"):
        transfer(
            "standard",
            source,
            target,
            replace(CONFIG, training=replace(TRAINING, lr=50.0, lr_head=50.0, epochs=1, keep="last")),
            RUNTIME,
            0,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error", SuspectResultWarning)
        transfer("standard", source, target, CONFIG, RUNTIME, 0)


def test_spatial_dropout_acts_in_training_and_leaves_no_trace(source: nn.Module, target: Target) -> None:
    dropped, again, plain = (
        transfer(
            "standard",
            source,
            target,
            replace(CONFIG, training=replace(TRAINING, spatial_dropout=p, keep="last")),
            RUNTIME,
            0,
        ).student
        for p in (0.3, 0.3, 0.0)
    )
    assert torch.equal(dropped.network.conv2.weight, again.network.conv2.weight)
    assert not torch.equal(dropped.network.conv2.weight, plain.network.conv2.weight)
    assert not any(m._forward_hooks for m in dropped.modules())
    with spatial_dropout(source, target.example(RUNTIME.device), 0.1) as names:
        assert names == ["conv2", "conv4"]


@pytest.mark.parametrize(("method", "search"), [("seam", "budget"), ("seam", "drift"), ("retrain", "budget")])
def test_a_killed_transfer_continues_to_the_same_student(
    method: str, search: str, source: nn.Module, target: Target, tmp_path: Path
) -> None:
    training = replace(TRAINING, removed_weights="zero", spatial_dropout=0.2, momentum=0.9, keep="last")
    config = replace(
        CONFIG, training=training, retrain=training, search=replace(SEARCH, method=search, norm_layers="learn")
    )
    whole = transfer(method, source, target, config, RUNTIME, 0)

    class Killed(Exception):
        pass

    def kill_at(last: int) -> Callable[[object], None]:
        def tell(now: object) -> None:
            if getattr(now, "round", getattr(now, "epoch", None)) == last:
                raise Killed

        return tell

    if method == "seam":
        with pytest.raises(Killed):
            transfer(method, source, target, config, RUNTIME, 0, Watch(tmp_path, on_round=kill_at(0)))
    with pytest.raises(Killed):
        transfer(method, source, target, config, RUNTIME, 0, Watch(tmp_path, on_epoch=kill_at(2)))
    seen: list[object] = []
    resumed = transfer(method, source, target, config, RUNTIME, 0, Watch(tmp_path, seen.append, seen.append))
    assert [getattr(now, "epoch", None) for now in seen] == [3, 4]
    assert resumed.epochs == whole.epochs
    assert all(torch.equal(v, whole.student.state_dict()[k]) for k, v in resumed.student.state_dict().items())
    other: list[object] = []
    transfer(method, source, target, config, RUNTIME, 1, Watch(tmp_path, on_epoch=other.append))
    assert len(other) == 4  # another seed does not continue it


def test_global_random_state_is_left_alone(source: nn.Module, target: Target) -> None:
    state = torch.get_rng_state()
    transfer("seam", source, target, replace(CONFIG, training=replace(TRAINING, spatial_dropout=0.1)), RUNTIME, 0)
    assert torch.equal(state, torch.get_rng_state())


def test_unknown_methods_are_named(source: nn.Module, target: Target) -> None:
    with pytest.raises(ConfigError, match=r"got 'remoss'; did you mean 'remos'\?"):
        transfer("remoss", source, target, CONFIG, RUNTIME, 0)
