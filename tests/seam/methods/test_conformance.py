"""What every method in the catalogue must do, under one protocol; a new row is judged here too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from seam.compaction import compact
from seam.masks.masks import apply_masks, density
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.methods.catalogue import STUDENTS, YARDSTICK, Method, names
from seam.methods.protocol import StartingPoint, Target, fresh_student
from seam.methods.transfer import transfer
from seam.networks.predict import accuracy, predict
from seam.networks.state_dicts import load_weights, save_weights
from tests.seam.methods.small import CONFIG, CONVOLUTIONS, RUNTIME, SEARCH, TRAINING, Squeezed, begin

EVERY = pytest.mark.parametrize("method", STUDENTS, ids=names(STUDENTS))
_REMOVING = tuple(m for m in STUDENTS if m.removes)
REMOVING = pytest.mark.parametrize("method", _REMOVING, ids=names(_REMOVING))
_EXACT = tuple(m for m in STUDENTS if m.removes == "removal")
EXACT = pytest.mark.parametrize("method", _EXACT, ids=names(_EXACT))
Begun = dict[str, StartingPoint]


@EVERY
def test_same_seed_same_start_and_the_source_stays_as_it_is(
    method: Method, source: nn.Module, target: Target, begun: Begun
) -> None:
    before = {k: v.clone() for k, v in source.state_dict().items()}
    state = torch.get_rng_state()
    first = begun[method.name]
    again, other = (begin(method.name, source, target, CONFIG, seed) for seed in (1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert not source.training and all(p.requires_grad for p in source.parameters())
    assert all(torch.equal(v, again.student.state_dict()[k]) for k, v in first.student.state_dict().items())
    assert not torch.equal(first.student.head.weight, other.student.head.weight)
    assert (first.masks is None) == (method.removes is None)
    if first.masks is not None:
        assert first.masks.keys() == again.masks.keys()
        assert all(torch.equal(first.masks[k], again.masks[k]) for k in first.masks)


@EVERY
def test_a_search_has_the_rounds_that_the_catalogue_says(method: Method, begun: Begun) -> None:
    assert len(begun[method.name].rounds) == method.rounds_of(CONFIG)


@REMOVING
def test_a_student_starts_as_the_source_times_its_mask_with_the_same_fresh_classifier(
    method: Method, begun: Begun
) -> None:
    start, plain = begun[method.name], begun[YARDSTICK.name]
    assert plain.masks is None and plain.removal == 0
    for name, value in start.student.network.state_dict().items():
        untouched = plain.student.network.state_dict()[name]
        assert torch.equal(value, untouched * start.masks[name] if name in start.masks else untouched)
    assert set(start.masks) <= {name for name, _ in start.student.network.named_parameters() if "fc" not in name}
    kept = sum(int(m.sum()) for m in start.masks.values())
    assert start.removal == pytest.approx(1 - kept / sum(m.numel() for m in start.masks.values()))


@REMOVING
def test_an_all_ones_mask_leaves_the_outputs_bit_identical(
    method: Method, source: nn.Module, target: Target, begun: Begun
) -> None:
    start = begun[method.name]
    plain = fresh_student(source, target, 1)
    images = target.preprocess(target.val.images)
    before = plain(images)
    apply_masks(plain.network, {name: torch.ones_like(mask) for name, mask in start.masks.items()})
    assert torch.equal(plain(images), before)
    apply_masks(plain.network, start.masks)
    assert torch.equal(plain(images), start.student(images))
    assert not torch.equal(plain(images), before)


@REMOVING
def test_merged_equals_masked(method: Method, source: nn.Module, target: Target, begun: Begun) -> None:
    """The student's zeros are the masks times the source's weights, put in at every call."""
    start, plain = begun[method.name], fresh_student(source, target, 1)
    images = target.preprocess(target.val.images)
    effective = {f"network.{name}": plain.network.get_parameter(name) * mask for name, mask in start.masks.items()}
    assert torch.equal(functional_call(plain, effective, (images,)), start.student(images))


@REMOVING
def test_compacted_equals_masked(method: Method, source: nn.Module, target: Target) -> None:
    start = begin(method.name, source, target, method.with_removal(CONFIG, 0.97), 1)
    images = target.preprocess(target.val.images)
    smaller = compact(start.student, images)
    wanted = start.student.eval()(images)
    assert torch.allclose(smaller.module(images), wanted, atol=1e-5)
    assert "" not in smaller.kept
    assert not torch.allclose(begin(YARDSTICK.name, source, target, CONFIG, 1).student(images), wanted, atol=1e-3)


@REMOVING
@pytest.mark.parametrize("removal", [0.3, 0.55, 0.9])
def test_it_removes_what_it_is_asked_to(method: Method, removal: float, source: nn.Module, target: Target) -> None:
    config = method.with_removal(replace(CONFIG, search=replace(SEARCH, rounds=1)), removal)
    assert method.removal_of(config) == removal
    assert begin(method.name, source, target, config, 1).removal == pytest.approx(removal, abs=1e-3)


@EXACT
@pytest.mark.parametrize("removal", [0.0, 0.3, 0.55, 0.9])
def test_the_removal_is_met_exactly(method: Method, removal: float, source: nn.Module, target: Target) -> None:
    config = replace(CONFIG, removal=removal, search=replace(SEARCH, rounds=1))
    masks = begin(method.name, source, target, config, 1).masks
    assert sum(m.numel() for m in masks.values()) == CONVOLUTIONS
    assert sum(int(m.sum()) for m in masks.values()) == round((1 - removal) * CONVOLUTIONS)


@REMOVING
def test_masks_survive_a_file(method: Method, begun: Begun, tmp_path: Path) -> None:
    start = begun[method.name]
    save_mask_pack(start.masks, "0" * 64, tmp_path / "mask.safetensors")
    read = load_mask_pack(tmp_path / "mask.safetensors", "0" * 64).masks
    assert read.keys() == start.masks.keys() and all(torch.equal(read[k], start.masks[k]) for k in read)
    assert density(read) == 1 - start.removal


@EVERY
def test_students_survive_a_file(
    method: Method, source: nn.Module, target: Target, begun: Begun, tmp_path: Path
) -> None:
    start, other = begun[method.name], fresh_student(source, target, 7)
    images = target.preprocess(target.val.images)
    assert not torch.equal(other(images), start.student(images))
    save_weights(start.student, tmp_path / "student.safetensors")
    load_weights(other, tmp_path / "student.safetensors")
    assert torch.equal(other(images), start.student(images))


@pytest.mark.filterwarnings("ignore:transfer. the student is at chance")
@EVERY
def test_a_source_that_ends_in_a_convolution_is_transferred_too(method: Method, target: Target) -> None:
    torch.manual_seed(1)
    config = replace(CONFIG, training=replace(TRAINING, epochs=1))
    done = transfer(method.name, Squeezed().eval(), target, config, RUNTIME, 0)
    assert done.student.classifier == "1.1"
    assert done.student(target.preprocess(target.val.images)).shape == (30, 3)
    assert not any(name.startswith("1.") for name in done.start.masks or {})


def weights_removed(student: nn.Module, masks: dict[str, Tensor]) -> Tensor:
    return torch.cat([student.network.get_parameter(name).detach()[~mask] for name, mask in masks.items()])


@REMOVING
def test_removed_weights_stay_zero_bit_for_bit_or_regrow(method: Method, source: nn.Module, target: Target) -> None:
    for removed_weights in ("zero", "regrow"):
        training = replace(TRAINING, removed_weights=removed_weights, momentum=0.9, keep="last")
        done = transfer(method.name, source, target, replace(CONFIG, training=training), RUNTIME, 0)
        bits = weights_removed(done.student, done.start.masks).view(torch.int32)
        assert len(bits) == sum(int((~m).sum()) for m in done.start.masks.values()) > 500
        if removed_weights == "zero":
            assert not bits.any()  # +0.0 has no bit set, -0.0 has one
        else:  # a filter that lost all its weights, without a bias behind it, stays dead
            assert (bits != 0).float().mean() > 0.5
        trained = [
            k
            for k in done.start.masks
            if not torch.equal(done.student.network.get_parameter(k), source.get_parameter(k) * done.start.masks[k])
        ]
        assert trained


@EVERY
def test_students_learn_the_target(method: Method, source: nn.Module, target: Target) -> None:
    training, retrain = replace(TRAINING, epochs=8), replace(TRAINING, epochs=12, lr=0.1)
    config = replace(CONFIG, training=training, retrain=retrain)
    done = transfer(method.name, source, target, config, RUNTIME, 0)
    reached = accuracy(predict(done.student, target.val, target.preprocess), target.val.labels)
    assert reached == max(e.val_accuracy for e in done.epochs) > 0.9
    assert len(done.epochs) == method.training_of(config).epochs + 1
    assert not done.student.training and not any(p.requires_grad for p in done.student.parameters())
