"""What a source teaches: the loss by hand, the right channels of a narrow student, refusals, and killed trainings."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seam.configs.training import FinetuneConfig
from seam.errors import SourceError
from seam.masks.masks import apply_masks
from seam.networks.build import build
from seam.networks.head import Reengineered, TargetHead
from seam.networks.source import Preprocess
from seam.training.distillation import TEMPERATURE, distilled, features_of
from seam.training.finetune import finetune
from seam.training.narrow import Left, narrow
from tests.seam.training.bright import RUNTIME, two_shades

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(5))
LABELS = torch.tensor([0, 1, 1, 0])
PREPROCESS = Preprocess((0.5,) * 3, (0.25,) * 3)
FIRST, SECOND = "_2", "_6"
"""Nodes of `two_stages`, one at the end of each stage."""


def two_stages():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(16, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(24, 4)),
    )


def without_channels(first=8, second=16):
    """Masks that leave every other channel of the first stage and the last ones of the second."""
    few, late = torch.arange(16) % (16 // first) == 1, torch.arange(24) >= 24 - second
    return {
        "0.weight": few.view(16, 1, 1, 1).expand(16, 3, 3, 3),
        "0.bias": few,
        "4.weight": (late.view(24, 1) & few).view(24, 16, 1, 1).expand(24, 16, 3, 3),
        "4.bias": late,
        "9.weight": late.expand(4, 24),
    }


def narrow_student(source, masks, images=IMAGES):
    network = copy.deepcopy(source)
    apply_masks(network, masks)
    narrowed = narrow(network, masks, images)
    assert narrowed is not None
    return network, narrowed


def relative(own, wanted):
    return ((own - wanted) ** 2).mean() / (wanted**2).mean()


def test_the_loss_by_hand():
    source, other = two_stages().eval(), two_stages().eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = Reengineered(other, TargetHead(4, 2))
    features = features_of(other, source, IMAGES, 3.0, 2, logits=True)
    assert features.points == (FIRST, SECOND)
    terms = distilled(model, source, 0.5, features)(IMAGES, LABELS)
    with torch.no_grad():
        wanted_first, own_first = source[:3](IMAGES), other[:3](IMAGES)
        wanted_second, own_second = source[3:7](wanted_first), other[3:7](own_first)
        wanted, own = (torch.softmax(network(IMAGES) / TEMPERATURE, 1) for network in (source, other))
        divergence = (wanted * (wanted / own).log()).sum() / 4
        expected = torch.stack(
            [
                F.cross_entropy(model(IMAGES), LABELS),
                0.5 * TEMPERATURE**2 * divergence,
                3.0 * (relative(own_first, wanted_first) + relative(own_second, wanted_second)),
            ]
        )
    torch.testing.assert_close(terms, expected)
    one = distilled(model, source, 0.0, features_of(other, source, IMAGES, 3.0, 1))(IMAGES, LABELS)
    torch.testing.assert_close(one[1], 3.0 * relative(own_second, wanted_second))


def test_a_source_teaches_itself_nothing_and_gets_no_gradient():
    source = two_stages().eval()
    student = copy.deepcopy(source)
    terms = distilled(
        Reengineered(student, TargetHead(4, 2)), source, 0.0, features_of(student, source, IMAGES, 16.0, 2)
    )(IMAGES, LABELS)
    assert terms[1] < 1e-9
    terms.sum().backward()
    assert all(parameter.grad is None for parameter in source.parameters())


def test_the_source_that_is_asked_is_a_copy_that_computes_the_same():
    torch.manual_seed(0)
    for source in (build("resnet20_a", 4), two_stages()):
        for module in source.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2)
        before = {name: value.clone() for name, value in source.state_dict().items()}
        features = features_of(copy.deepcopy(source), source.eval(), IMAGES, 1.0, 2, logits=True)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in features.source.modules())
        with torch.no_grad():
            logits, values = features.source(IMAGES)
            _, wanted = features.student(IMAGES)
            torch.testing.assert_close(logits, source(IMAGES))
        torch.testing.assert_close(values, wanted, rtol=1e-4, atol=1e-5)
        assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())


def test_the_channels_of_a_narrow_student_are_compared_with_the_same_ones_of_the_source():
    source = two_stages().eval()
    masks = without_channels()
    network, narrowed = narrow_student(source, masks)
    features = features_of(network, source, IMAGES, 1.0, 2, narrowed=narrowed)
    model = Reengineered(narrowed.network, TargetHead(4, 2))
    found = distilled(model, source, 0.0, features)(IMAGES, LABELS)[1]
    few, late = masks["0.bias"], masks["4.bias"]
    with torch.no_grad():
        wanted, own = source[:3](IMAGES), network[:3](IMAGES)
        assert torch.equal(own[:, few], wanted[:, few])  # what makes the first stage's channels is all there
        second = relative(network[3:7](own)[:, late], source[3:7](wanted)[:, late])
    torch.testing.assert_close(found, second)
    assert found > 0
    first = features.left[0]
    assert first.narrow.tolist() == list(range(8))
    assert first.wide.tolist() == few.nonzero()[:, 0].tolist()
    wrong = replace(features, left=(Left(1, first.narrow, first.wide.flip(0)), features.left[1]))
    assert distilled(model, source, 0.0, wrong)(IMAGES, LABELS)[1] > found + 0.1


def test_channels_that_are_there_but_not_read_are_not_compared():
    """Of three channels engines compute eight."""
    source = two_stages().eval()
    masks = without_channels(second=3)
    network, narrowed = narrow_student(source, masks)
    assert narrowed.network.get_submodule("4").out_channels == 8
    features = features_of(network, source, IMAGES, 1.0, 1, narrowed=narrowed)
    (left,) = features.left
    assert left.wide.tolist() == [21, 22, 23]
    with torch.no_grad():
        _, (values,) = features.student(IMAGES)
        torch.testing.assert_close(values[:, left.narrow], network[:7](IMAGES)[:, 21:])


def test_a_residual_network_whose_blocks_are_gone_is_compared_where_it_goes_on():
    torch.manual_seed(0)
    source = build("resnet20_a", 4).eval()
    masks = {
        f"{block}.{layer}.weight": torch.zeros_like(source.get_parameter(f"{block}.{layer}.weight"), dtype=torch.bool)
        for block in ("layer1.1", "layer2.2", "layer3.2")
        for layer in ("conv1", "conv2")
    }
    images = torch.randn(2, 3, 32, 32)
    network, narrowed = narrow_student(source, masks, images)
    features = features_of(network, source, images, 1.0, 2, narrowed=narrowed)
    assert features.points == ("layer2_2_relu_1", "layer3_2_relu_1")
    with torch.no_grad():
        _, values = features.student(images)
    assert [tuple(value.shape[1:]) for value in values] == [(32, 16, 16), (64, 8, 8)]


def test_a_stage_of_which_nothing_is_read_is_left_out():
    source = two_stages().eval()
    masks = without_channels()
    masks["4.weight"] = torch.zeros(24, 16, 3, 3, dtype=torch.bool)
    network, narrowed = narrow_student(source, masks)
    assert features_of(network, source, IMAGES, 1.0, 2, narrowed=narrowed).points == (SECOND,)


class Unsteady(nn.Module):
    """Adds something while it trains."""

    def __init__(self):
        super().__init__()
        self.inner = two_stages()

    def forward(self, images):
        return self.inner(images) + 1 if self.training else self.inner(images)


@pytest.mark.parametrize(
    ("network", "source", "said"),
    [
        (Unsteady(), Unsteady(), "one that does other things while it trains"),
        (two_stages(), nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), "tokens, inside the source, got none"),
        (build("resnet20", 4), two_stages(), "got another network"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), *two_stages()[1:3]), two_stages(), "features of the source"),
    ],
)
def test_refusals_say_what_to_do(network, source, said):
    with pytest.raises(SourceError, match=said) as refused:
        features_of(network.eval(), source.eval(), IMAGES, 1.0, 2)
    assert refused.value.hint == "features"
    assert str(refused.value).endswith("fine-tune without the source's features.")


def test_a_teacher_is_needed():
    with pytest.raises(ValueError, match="expected a teacher"):
        finetune(
            Reengineered(two_stages(), TargetHead(4, 2)),
            None,
            PREPROCESS,
            two_shades(),
            two_shades(20, 1),
            FinetuneConfig(features=1.0),
            RUNTIME,
            seed=0,
        )


def test_features_teach_and_a_killed_fine_tuning_goes_on_to_the_same_weights(tmp_path):
    """Without some channels it computes what the source does less well, and learns to do it better."""
    source = two_stages().eval().requires_grad_(False)
    masks = without_channels()
    config = FinetuneConfig(
        epochs=8,
        lr=0.02,
        lr_head=0.2,
        momentum=0.9,
        schedule="cosine",
        augment="crop",
        batch_size=8,
        features=16.0,
    )

    def tuned(checkpoint, config=config, on_epoch=None):
        network = copy.deepcopy(source)
        apply_masks(network, masks)
        torch.manual_seed(2)
        model = Reengineered(network, TargetHead(4, 2))
        data = (PREPROCESS, two_shades(), two_shades(20, 1))
        history = finetune(
            model,
            masks,
            *data,
            config,
            RUNTIME,
            seed=0,
            teacher=source,
            checkpoint=checkpoint,
            key="k",
            on_epoch=on_epoch,
        )
        return model.state_dict(), history

    def kill(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "killed", on_epoch=kill)
    (killed, killed_history), (whole, history) = tuned(tmp_path / "killed"), tuned(tmp_path / "whole")
    assert killed_history == history
    assert max(epoch.val_accuracy for epoch in history) > history[0].val_accuracy  # so a trained epoch was kept
    assert all(torch.equal(value, whole[name]) for name, value in killed.items())
    taught = [epoch.loss - epoch.cross_entropy for epoch in history[1:]]
    assert taught[-1] < 0.5 * taught[0]
    _, plain = tuned(tmp_path / "plain", replace(config, features=0.0))
    assert all(epoch.loss == epoch.cross_entropy for epoch in plain[1:])
