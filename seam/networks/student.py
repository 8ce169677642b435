"""Students: copies of a trained network whose last layer gives the scores of other classes than the source's."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import skip_init

from seam.data.images import LabelledImages
from seam.errors import SourceError
from seam.networks.activations import executed_layers, pooled
from seam.networks.head import fit_head
from seam.networks.predict import predict
from seam.networks.scores import give_all_scores

Images = Float[Tensor, "batch channels height width"]


class Student(nn.Module):
    """A network for the target's classes, and the name of the layer that was replaced for them.

    `network` has the modules of the source under their names; a student's state belongs to it
    alone.
    """

    def __init__(self, network: nn.Module, classifier: str, replaced: str) -> None:
        """Take a network that already has its new classifier.

        Args:
            network: maps normalised images to scores of the target's classes.
            classifier: name, in `network`, of the layer that gives them.
            replaced: the source's layer of that name, in words.
        """
        super().__init__()
        self.network = network
        self.classifier = classifier
        self.replaced = replaced

    @property
    def head(self) -> nn.Module:
        """The layer that gives the class scores."""
        return self.network.get_submodule(self.classifier)

    @property
    def body(self) -> list[nn.Parameter]:
        """Every parameter but the head's."""
        own = {id(p) for p in self.head.parameters()}
        return [p for p in self.network.parameters() if id(p) not in own]

    def forward(self, x: Images) -> Float[Tensor, "batch classes"]:
        """Scores of the target's classes."""
        scores: Tensor = self.network(x)
        return scores


def student(network: nn.Module, example_input: Images, num_classes: int, seed: int) -> Student:
    """A copy of `network` with a fresh classifier in place of its own.

    Source: SeaM section 5.4 and ReMoS: a new fully connected layer for the target's classes in
    place of the source's, *same* (uniform in +-1/sqrt(inputs), as torch draws a linear layer).
    *Differs*: seeded; a 1x1 convolution that gives the class scores (SqueezeNet) is replaced by
    such a convolution.

    Args:
        network: the source; it is not changed.
        example_input: normalised, on the network's device; its first image is run through a copy to
            find the classifier.
        num_classes: of the target.
        seed: of the new layer, which is the same on every device and leaves torch's global state
            alone.

    Returns:
        The student, in eval mode; all its parameters require gradients.

    Raises:
        SourceError: the last executed layer does not give the class scores, or there is no such
            layer.
    """
    name = classifier_name(network, example_input)
    if not name:
        raise SourceError(
            f"{type(network).__name__}: expected layers before the classifier, got a network of one layer; there is"
            " nothing to transfer."
        )
    copied = copy.deepcopy(network)
    give_all_scores(copied)
    old = copied.get_submodule(name)
    copied.set_submodule(name, _fresh(old, num_classes, seed))
    return Student(copied, name, f"{name}: {old}").eval().requires_grad_(True)


def classifier_name(network: nn.Module, example_input: Images) -> str:
    """Name of the layer that gives the class scores: the last one executed, a linear layer or a 1x1 convolution.

    Raises:
        SourceError: it is another layer, or none is executed.
    """
    probe = copy.deepcopy(network).eval()
    give_all_scores(probe)
    executed, scores = executed_layers(probe, example_input[:1])
    expected = (
        f"{type(network).__name__}: expected the last executed layer to be a linear layer or a 1x1 convolution that"
        " gives the class scores"
    )
    if not isinstance(scores, Tensor) or scores.ndim != 2 or not executed:
        got = f"scores of shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else type(scores).__name__
        raise SourceError(
            f"{expected}, got {got} after {len(executed)} layers; give a network that maps images to (batch, classes)."
        )
    last = probe.get_submodule(executed[-1])
    if not _gives(last, scores.shape[1]):
        raise SourceError(
            f"{expected}, got '{executed[-1]}', {last}, for {scores.shape[1]} classes; end the network with such a"
            " layer."
        )
    return executed[-1]


def fit_classifier(learner: Student, preprocess: nn.Module, data: LabelledImages) -> None:
    """Fit the student's classifier, in place, to what the rest of the network gives it.

    Multinomial logistic regression.

    A 1x1 convolution is fitted to the means over positions. Its scores then get one constant in
    common, which no softmax feels, and which makes them positive on `data`, so that a ReLU behind
    it (SqueezeNet) passes them as they are.

    Source: SeaM's published code trains the new layer by SGD on the frozen network; *differs*:
    convex, exact, without augmentation, and the statistics of BatchNorm stay the source's.

    Args:
        learner: in eval mode, on the device of `data`.
        preprocess: uint8 NHWC images to the network's input, on that device.
        data: what to fit to.

    Raises:
        SourceError: what the classifier receives is not finite.
    """
    head = learner.head
    assert isinstance(head, (nn.Linear, nn.Conv2d))
    received: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda module, inputs: received.append(pooled(module, inputs[0].float())))
    predict(learner, data, preprocess)
    hook.remove()
    features = torch.cat(received)
    if not torch.isfinite(features).all():
        raise SourceError(
            f"'{learner.classifier}': expected finite features of the target's images, got NaN or infinite ones",
            hint="normalisation",
        )
    lowest = features.amin(0)
    with torch.random.fork_rng(devices=[]):  # a layer is drawn before it is fitted
        fitted = fit_head(
            features - lowest, data.labels, head.weight.shape[0]
        ).linear  # its ReLU passes features that start at 0
    with torch.no_grad():
        head.weight.copy_(fitted.weight.view_as(head.weight))
        if head.bias is not None:
            head.bias.copy_(fitted.bias - fitted.weight @ lowest)
    if isinstance(head, nn.Conv2d) and head.bias is not None:
        _lift(learner, head.bias, preprocess, data)


def _lift(learner: Student, bias: Tensor, preprocess: nn.Module, data: LabelledImages) -> None:
    """Add the constant to all biases that makes the lowest score on `data` zero."""
    lowest: list[Tensor] = []
    hook = learner.head.register_forward_hook(lambda module, inputs, scores: lowest.append(scores.min()))
    predict(learner, data, preprocess)
    hook.remove()
    with torch.no_grad():
        bias -= torch.stack(lowest).min().clamp(max=0)


def _gives(layer: nn.Module, num_classes: int) -> bool:
    if isinstance(layer, nn.Linear):
        return layer.out_features == num_classes
    return (
        isinstance(layer, nn.Conv2d)
        and layer.kernel_size == (1, 1)
        and layer.groups == 1
        and layer.out_channels == num_classes
    )


def _fresh(old: nn.Module, num_classes: int, seed: int) -> nn.Module:
    """A layer like `old` for another number of classes, with weights drawn by `seed`."""
    assert isinstance(old, (nn.Linear, nn.Conv2d))
    has_bias, inputs = old.bias is not None, old.weight.shape[1]
    new: nn.Module
    if isinstance(old, nn.Linear):
        new = skip_init(nn.Linear, inputs, num_classes, bias=has_bias)
    else:
        new = skip_init(nn.Conv2d, inputs, num_classes, 1, stride=old.stride, padding=old.padding, bias=has_bias)
    generator = torch.Generator().manual_seed(seed)
    for parameter in new.parameters():
        nn.init.uniform_(parameter, -(inputs**-0.5), inputs**-0.5, generator=generator)
    return new.to(old.weight.device, old.weight.dtype)
