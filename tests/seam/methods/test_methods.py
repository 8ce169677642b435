"""Every method of a transfer under one protocol, and the training of students."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seam.configs.methods import RemosConfig, TransferConfig
from seam.configs.runtime import RuntimeConfig
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining
from seam.data.images import LabelledImages
from seam.errors import ConfigError, MaskError, SeamError, SourceError, SuspectResultWarning
from seam.masks.masks import apply_masks, density
from seam.masks.pack import load_mask_pack, save_mask_pack
from seam.methods import METHODS, card
from seam.methods.presets import PRESETS
from seam.methods.protocol import StartingPoint, Target, Watch, convolutions, fresh_student, keep_highest
from seam.methods.transfer import train_student, transfer
from seam.networks.head import Reengineered
from seam.networks.predict import accuracy, predict
from seam.networks.source import Preprocess
from seam.networks.student import fit_classifier
from seam.runtime import start
from seam.training.loop import TrainingPlan, train
from seam.training.spatial_dropout import spatial_dropout

RUNTIME = start(RuntimeConfig(device="cpu", precision="fp32", threads=1), pixels=64)
SEARCH = TransferSearchConfig(rounds=2, batch_size=30, augment="none")
TRAINING = StudentTraining(epochs=4, lr=0.05, lr_head=0.1, batch_size=16, augment="crop")
CONFIG = TransferConfig(
    removal=0.5,
    search=SEARCH,
    remos=RemosConfig(ratio=0.2),
    training=TRAINING,
    retrain=replace(TRAINING, lr=0.1, momentum=0.9),
)
MASKING = ("seam", "remos", "magnitude", "random_mask")


class Small(nn.Module):
    """Two stages of two convolutions each, one grouped, one with a bias.

    BatchNorm; a linear classifier for 6 classes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 12, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(12, 16, 3, padding=1, stride=2, bias=False)
        self.bn3 = nn.BatchNorm2d(16)
        self.conv4 = nn.Conv2d(16, 16, 3, padding=1, groups=4, bias=False)
        self.fc = nn.Linear(64, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.bn1(self.conv1(x)).relu()).relu()
        x = self.conv4(self.bn3(self.conv3(x)).relu()).relu()
        return self.fc(F.adaptive_avg_pool2d(x, 2).flatten(1))


CONVOLUTIONS = 12 * 3 * 9 + 12 + 12 * 12 * 9 + 16 * 12 * 9 + 16 * 4 * 9


class Squeezed(nn.Sequential):
    """Ends as SqueezeNet does."""

    def __init__(self) -> None:
        features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU()
        )
        super().__init__(
            features, nn.Sequential(nn.Dropout(), nn.Conv2d(12, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)), nn.Flatten()
        )


def data(count: int, seed: int, classes: int) -> LabelledImages:
    """A bright corner (or edge) says the class; the rest is noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    pixels = torch.randint(0, 100, (count, 8, 8, 3), generator=generator)
    for label, (rows, columns) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)][:classes]):
        pixels[labels == label, 4 * rows : 4 * rows + 4, 4 * columns : 4 * columns + 4] += 120
    return LabelledImages(pixels.to(torch.uint8), labels)


@pytest.fixture(autouse=True, scope="module")
def _short() -> Iterator[None]:
    """Every round is saved; the first ranking of the search takes few batches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seam.checkpoint.SAVE_SECONDS", 0.0)
        patch.setattr("seam.search.loop._SALIENCY_STEPS", 8)
        yield


@pytest.fixture(scope="module")
def target() -> Target:
    return Target(data(90, 0, 3), data(30, 1, 3), Preprocess((0.4,) * 3, (0.25,) * 3), 3)


@pytest.fixture(scope="module")
def trained(target: Target) -> nn.Module:
    """A source that knows the four corners."""
    torch.manual_seed(0)
    network = Small()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    plan = TrainingPlan(4, 16, "none", 0, cosine=False, keep_best=False)
    train(network, optimizer, target.preprocess, data(120, 2, 4), data(40, 3, 4), plan, RUNTIME)
    return network.eval()


@pytest.fixture
def source(trained: nn.Module) -> nn.Module:
    return copy.deepcopy(trained)


@pytest.fixture(scope="module")
def begun(trained: nn.Module, target: Target) -> dict[str, StartingPoint]:
    """Where every method starts, with seed 1; not to be changed."""
    return {name: method(trained, target, CONFIG, RUNTIME, 1, Watch()) for name, method in METHODS.items()}


# Conformance: every method that masks


@pytest.mark.parametrize("method", METHODS)
def test_same_seed_same_start_and_the_source_stays_as_it_is(
    method: str, source: nn.Module, target: Target, begun: dict[str, StartingPoint]
) -> None:
    before = {k: v.clone() for k, v in source.state_dict().items()}
    state = torch.get_rng_state()
    first = begun[method]
    again, other = (METHODS[method](source, target, CONFIG, RUNTIME, seed, Watch()) for seed in (1, 2))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert not source.training and all(p.requires_grad for p in source.parameters())
    assert all(torch.equal(v, again.student.state_dict()[k]) for k, v in first.student.state_dict().items())
    assert not torch.equal(first.student.head.weight, other.student.head.weight)
    if first.masks is not None:
        assert first.masks.keys() == again.masks.keys()
        assert all(torch.equal(first.masks[k], again.masks[k]) for k in first.masks)
    if method in ("seam", "random_mask"):
        assert any(not torch.equal(first.masks[k], other.masks[k]) for k in first.masks)


@pytest.mark.parametrize("method", MASKING)
def test_a_student_starts_as_the_source_times_its_mask_with_the_same_fresh_classifier(
    method: str, begun: dict[str, StartingPoint]
) -> None:
    begin, plain = begun[method], begun["standard"]
    assert plain.masks is None and plain.removal == 0
    for name, value in begin.student.network.state_dict().items():
        untouched = plain.student.network.state_dict()[name]
        assert torch.equal(value, untouched * begin.masks[name] if name in begin.masks else untouched)
    assert not any(name.startswith("fc") for name in begin.masks)
    kept = sum(int(m.sum()) for m in begin.masks.values())
    assert begin.removal == pytest.approx(1 - kept / sum(m.numel() for m in begin.masks.values()))


@pytest.mark.parametrize("method", MASKING)
def test_an_all_ones_mask_leaves_the_outputs_bit_identical(
    method: str, source: nn.Module, target: Target, begun: dict[str, StartingPoint]
) -> None:
    begin = begun[method]
    plain = fresh_student(source, target, 1)
    images = target.preprocess(target.val.images)
    before = plain(images)
    apply_masks(plain.network, {name: torch.ones_like(mask) for name, mask in begin.masks.items()})
    assert torch.equal(plain(images), before)
    apply_masks(plain.network, begin.masks)
    assert torch.equal(plain(images), begin.student(images))
    assert not torch.equal(plain(images), before)


@pytest.mark.parametrize("method", ["seam", "magnitude", "random_mask"])
@pytest.mark.parametrize("removal", [0.0, 0.3, 0.55, 0.9])
def test_removal_targets_are_met_exactly(method: str, removal: float, source: nn.Module, target: Target) -> None:
    begin = METHODS[method](
        source, target, replace(CONFIG, removal=removal, search=replace(SEARCH, rounds=1)), RUNTIME, 1, Watch()
    )
    assert sum(m.numel() for m in begin.masks.values()) == CONVOLUTIONS
    assert sum(int(m.sum()) for m in begin.masks.values()) == round((1 - removal) * CONVOLUTIONS)
    assert abs(begin.removal - removal) < 1e-3


def test_remos_removes_its_ratio(source: nn.Module, target: Target) -> None:
    begin = METHODS["remos"](source, target, replace(CONFIG, remos=RemosConfig(ratio=0.3)), RUNTIME, 1, Watch())
    assert sum(m.numel() for m in begin.masks.values()) == CONVOLUTIONS - 12  # no bias
    assert abs(begin.removal - 0.3) < 1e-3


@pytest.mark.parametrize("method", MASKING)
def test_masks_survive_a_file(method: str, begun: dict[str, StartingPoint], tmp_path: Path) -> None:
    begin = begun[method]
    save_mask_pack(begin.masks, "0" * 64, tmp_path / "mask.safetensors")
    read = load_mask_pack(tmp_path / "mask.safetensors", "0" * 64).masks
    assert read.keys() == begin.masks.keys() and all(torch.equal(read[k], begin.masks[k]) for k in read)
    assert density(read) == 1 - begin.removal


@pytest.mark.filterwarnings("ignore:transfer. the student is at chance")
@pytest.mark.parametrize("method", METHODS)
def test_a_source_that_ends_in_a_convolution_is_transferred_too(method: str, target: Target) -> None:
    torch.manual_seed(1)
    done = transfer(
        method, Squeezed().eval(), target, replace(CONFIG, training=replace(TRAINING, epochs=1)), RUNTIME, 0
    )
    assert done.student.classifier == "1.1"
    assert done.student(target.preprocess(target.val.images)).shape == (30, 3)
    if done.start.masks is not None:
        assert not any(name.startswith("1.") for name in done.start.masks)


# SeaM's search


def test_the_search_finds_what_other_masks_miss(source: nn.Module, target: Target) -> None:
    """With 2% of the weights left, and a fitted classifier behind each mask."""
    config = replace(CONFIG, removal=0.98, search=replace(SEARCH, rounds=15, batch_size=16, lr_head=0.01))
    rounds = METHODS["seam"](source, target, config, RUNTIME, 0, Watch()).rounds
    assert len(rounds) == 15 and rounds[-1].density == pytest.approx(0.02, abs=1e-3)
    others = [
        METHODS[name](source, target, config, RUNTIME, 0, Watch()).student for name in ("random_mask", "magnitude")
    ]
    for learner in others:
        fit_classifier(learner, target.preprocess, target.train)
    reached = [accuracy(predict(learner, target.val, target.preprocess), target.val.labels) for learner in others]
    assert rounds[-1].val_accuracy > max(reached) + 0.2


def test_drift_stops_when_enough_is_removed_and_is_cut_back_to_the_target(source: nn.Module, target: Target) -> None:
    search = TransferSearchConfig(method="drift", rounds=60, batch_size=16, augment="none", lr_scores=0.1, alpha=5.0)
    begin = METHODS["seam"](source, target, replace(CONFIG, removal=0.3, search=search), RUNTIME, 0, Watch())
    removed = [1 - r.density for r in begin.rounds]
    assert len(removed) < 60 and removed[-1] >= 0.3 and all(r < 0.3 for r in removed[:-1])
    assert sum(int(m.sum()) for m in begin.masks.values()) == round(0.7 * CONVOLUTIONS)


def test_learnt_normalisation_goes_with_the_mask(source: nn.Module, target: Target) -> None:
    frozen = METHODS["seam"](source, target, CONFIG, RUNTIME, 0, Watch()).student.network
    learnt = METHODS["seam"](
        source, target, replace(CONFIG, search=replace(SEARCH, norm_layers="learn")), RUNTIME, 0, Watch()
    ).student.network
    for name in ("bn1.weight", "bn1.bias", "bn3.running_mean"):
        assert torch.equal(frozen.state_dict()[name], source.state_dict()[name])
        assert not torch.equal(learnt.state_dict()[name], source.state_dict()[name])


def test_masks_are_over_the_convolutions_under_the_networks_names(source: nn.Module, target: Target) -> None:
    learner = fresh_student(source, target, 0)
    tree = convolutions(learner)
    wanted = ["conv1.weight", "conv1.bias", "conv2.weight", "conv3.weight", "conv4.weight"]
    assert [name for name, _ in tree.named_parameters()] == wanted
    assert all(tree.get_parameter(name) is learner.network.get_parameter(name) for name in wanted)
    nested = fresh_student(Squeezed(), target, 0)
    assert [name for name, _ in convolutions(nested).named_parameters()] == [
        "0.0.weight",
        "0.0.bias",
        "0.3.weight",
        "0.3.bias",
    ]


def test_the_highest_scores_are_kept_and_of_equal_ones_the_first() -> None:
    masks = keep_highest({"a": torch.tensor([[0.5, 0.1]]), "b": torch.tensor([0.1, 0.9, 0.1])}, 0.4)
    assert {k: m.tolist() for k, m in masks.items()} == {"a": [[True, True]], "b": [False, True, False]}
    with pytest.raises(MaskError, match="NaN"):
        keep_highest({"a": torch.tensor([float("nan")])}, 0.5)
    with pytest.raises(MaskError, match=r"\[0, 1\], got 1.5"):
        keep_highest({"a": torch.ones(2)}, 1.5)


# Retraining


def test_retraining_keeps_nothing_of_the_source(source: nn.Module, target: Target) -> None:
    begin = METHODS["retrain"](source, target, CONFIG, RUNTIME, 0, Watch())
    fresh = begin.student.network
    assert begin.masks is None and begin.training == CONFIG.retrain
    assert all(
        not torch.equal(p, source.get_parameter(name)) for name, p in fresh.named_parameters() if "fc" not in name
    )
    assert torch.equal(fresh.bn1.running_mean, torch.zeros(12)) and torch.equal(fresh.bn1.weight, torch.ones(12))
    assert torch.equal(fresh.conv1.bias, torch.zeros(12))
    assert float(fresh.conv2.weight.detach().std()) == pytest.approx((2 / (12 * 9)) ** 0.5, rel=0.1)


def test_what_cannot_be_drawn_anew_is_one_clear_line(target: Target) -> None:
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.ones(1))
            self.fc = nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.mean((2, 3)) + self.shift)

    with pytest.raises(SourceError, match="its own 'shift'"):
        METHODS["retrain"](Shifted(), target, CONFIG, RUNTIME, 0, Watch())
    with pytest.raises(SourceError, match="expected convolutions before the classifier"):
        METHODS["seam"](Shifted(), target, CONFIG, RUNTIME, 0, Watch())


# Fine-tuning


def weights_removed(student: nn.Module, masks: dict[str, Tensor]) -> Tensor:
    return torch.cat([student.network.get_parameter(name).detach()[~mask] for name, mask in masks.items()])


@pytest.mark.parametrize("method", MASKING)
def test_removed_weights_stay_zero_bit_for_bit_or_regrow(method: str, source: nn.Module, target: Target) -> None:
    for removed_weights in ("zero", "regrow"):
        training = replace(TRAINING, removed_weights=removed_weights, momentum=0.9, keep="last")
        done = transfer(method, source, target, replace(CONFIG, training=training), RUNTIME, 0)
        bits = weights_removed(done.student, done.start.masks).view(torch.int32)
        assert len(bits) == sum(int((~m).sum()) for m in done.start.masks.values()) > 500
        if removed_weights == "zero":
            assert not bits.any()  # +0.0 has no bit set, -0.0 has one
        else:
            assert (
                bits != 0
            ).float().mean() > 0.5  # a filter that lost all its weights, without a bias behind it, stays dead
        kept = [
            k
            for k in done.start.masks
            if not torch.equal(done.student.network.get_parameter(k), source.get_parameter(k) * done.start.masks[k])
        ]
        assert kept  # it trained


@pytest.mark.parametrize("method", METHODS)
def test_students_learn_the_target(method: str, source: nn.Module, target: Target) -> None:
    done = transfer(
        method,
        source,
        target,
        replace(CONFIG, training=replace(TRAINING, epochs=8), retrain=replace(TRAINING, epochs=12, lr=0.1)),
        RUNTIME,
        0,
    )
    reached = accuracy(predict(done.student, target.val, target.preprocess), target.val.labels)
    assert reached == max(e.val_accuracy for e in done.epochs) > 0.9
    assert not done.student.training and not any(p.requires_grad for p in done.student.parameters())


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
    wanted = METHODS["magnitude"](source, target, CONFIG, RUNTIME, 0, Watch()).student
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

    def kill_at(last: int):
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


# Registry, cards, presets


def test_every_method_has_a_card() -> None:
    assert list(METHODS) == ["standard", "seam", "remos", "magnitude", "random_mask", "retrain"]
    for name in METHODS:
        text = card(name)
        for part in ("What it does", "When to use it", "Differences from the paper", "Published settings"):
            assert text.count(part) == 1, f"{name}: {part}"


def test_unknown_methods_are_named(source: nn.Module, target: Target) -> None:
    with pytest.raises(ConfigError, match="did you mean remos") as error:
        transfer("remoss", source, target, CONFIG, RUNTIME, 0)
    assert isinstance(error.value, SeamError)


def test_presets_state_the_published_numbers() -> None:
    for name, preset in PRESETS.items():
        assert (
            preset.training.lr,
            preset.training.weight_decay,
            preset.training.momentum,
            preset.training.batch_size,
        ) == (0.005, 1e-4, 0, 64)
        assert preset.training.removed_weights == "regrow" and preset.training.schedule == "constant"
        assert preset.training.lr_head == (0.005 if name == "remos_backdoor" else 0.05)
    seam, r18 = PRESETS["seam"], PRESETS["remos_resnet18"]
    assert (
        seam.search.mask_search.method,
        seam.search.mask_search.lr_scores,
        seam.search.mask_search.alpha,
        seam.search.mask_search.lr_head,
    ) == ("drift", 0.05, 0.5, 0.001)
    assert (
        seam.training.spatial_dropout,
        PRESETS["seam_dropout"].training.spatial_dropout,
        seam.training.loop.label_smoothing,
    ) == (0, 0.1, 0)
    assert (r18.remos.ratio, PRESETS["remos_resnet50"].remos.ratio, PRESETS["remos_backdoor"].remos.ratio) == (
        0.1,
        0.03,
        0.03,
    )
    assert (r18.training.spatial_dropout, r18.training.label_smoothing, r18.training.keep) == (0.1, 0.1, "last")
    assert (
        r18.training.whole_epochs(5360) == 358
    )  # 30,000 steps of 64 images of MIT Indoor 67: 83.75 batches, the last is big enough
    assert PRESETS["remos_backdoor"].training.whole_epochs(5360) == 120


def test_steps_become_whole_epochs() -> None:
    training = StudentTraining(steps=10, batch_size=8)
    assert [training.whole_epochs(n) for n in (3, 8, 11, 12, 16)] == [10, 10, 10, 5, 5]
    assert replace(training, steps=None, epochs=7).whole_epochs(100) == 7


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransferConfig(removal=1.0), r"removal must be in \[0, 1\), got 1.0"),
        (lambda: RemosConfig(ratio=0.0), r"ratio must be in \(0, 1\), got 0.0"),
        (lambda: StudentTraining(spatial_dropout=1.0), "spatial_dropout must be"),
        (lambda: StudentTraining(label_smoothing=-0.1), "label_smoothing must be"),
        (lambda: TransferSearchConfig(rounds=0), "rounds must be >= 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_student_is_no_reengineered_network(begun: dict[str, StartingPoint]) -> None:
    """Masks are by name in `student.network`, as they are in `Reengineered.network`."""
    begin = begun["magnitude"]
    assert not isinstance(begin.student, Reengineered)
    assert set(begin.masks) <= {name for name, _ in begin.student.network.named_parameters()}
