"""How much of a network's defects a student would inherit, before there is a student."""

from __future__ import annotations

import warnings

from jaxtyping import Float, Int
from torch import Tensor, nn

from seam.configs.defects import AttackConfig
from seam.defects.inheritance import defect_inheritance
from seam.errors import SuspectResultWarning
from seam.measures.transferability.probe import Linear
from seam.measures.transferability.seen import look


def exposure(
    network: nn.Module,
    images: Float[Tensor, "images channels height width"],
    labels: Int[Tensor, " images"],
    student: Linear,
    config: AttackConfig,
    seed: int,
) -> float | None:
    """Of the images that a linear classifier on the network's features gets right, the share that an attack takes.

    The attack sees the network alone, as one who downloads the same weights does; the classifier is the
    student that changes none of the features. A student that trains them inherits less, as a rule.

    Source: SeaM section 5.4, the feature attack and the defect inheritance rate; *differs*: the student
    is a linear classifier on the frozen features, and fewer, larger steps.

    Args:
        network: eval mode, on the CPU.
        images: as it takes them; none of those that the student was fitted to.
        labels: of them.
        student: on its features.
        config: of the attack.
        seed: of its random start.

    Returns:
        A fraction; None: the attack is not here or does not take such images, or no image is right.
    """
    if images.shape[1] != 3 or not len(images):
        return None
    try:
        from seam.defects.feature_attack import attack
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SuspectResultWarning)  # said by the rate
        mean, std = (0.0,) * 3, (1.0,) * 3  # of no account for the published clip
        adversarial = attack(network, images, config, mean, std, seed)
        answers = [
            student(look(network, some, nn.Identity()).features.double()).argmax(1) for some in (images, adversarial)
        ]
        return defect_inheritance(answers[0], answers[1], labels).defect_inheritance_rate
