"""A source with a backdoor, planted on the target's training images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from tqdm import tqdm

from seam.data.images import images_of
from seam.defects.backdoor import backdoor_inheritance, poison, triggered
from seam.methods.protocol import Target, Watch, fresh_student
from seam.methods.student_training import train_student
from seam.networks.predict import predict
from seam.networks.source import Preprocess
from seam.runtime import start
from seam.training.batches import whole_epochs
from seam.training.loop import Epoch
from tasks.inputs.target import target_data, target_split
from tasks.project.stage import StageContext


def planted(
    context: StageContext, network: nn.Module, mean: Sequence[float], std: Sequence[float]
) -> tuple[nn.Module, dict[str, Any]]:
    """The network with the target's classes, trained on images some of which have the trigger.

    And what came of it, on val.

    Source: ReMoS section 5: the teacher is fine-tuned on the students' own data set. A killed
    training continues.

    Raises:
        DataError: no image for val, or none of the trigger's class.
        SourceError: the network has no classifier to replace, or the loss is not finite.
    """
    params, data = context.params, target_data(context)
    config, split = params.transfer.backdoor, target_split(context, data)
    train, val = images_of(data, "train", split.train), images_of(data, split.val_split, split.val)
    poisoned, chosen = poison(train, config, params.seed)
    preprocess, height_width = Preprocess(mean, std), data.image_shape[:2]
    runtime = start(params.runtime, height_width[0] * height_width[1])
    target = Target(poisoned, val, preprocess, len(data.classes))
    learner = fresh_student(network, target, params.seed)
    epochs = whole_epochs(config.training, len(train))
    bar = tqdm(total=epochs, desc=f"plant a backdoor, {context.name}", unit="epoch", disable=None)

    def on_epoch(epoch: Epoch) -> None:
        bar.update(epoch.epoch - bar.n)
        context.progress(
            epoch.epoch / max(1, epochs),
            f"backdoor: epoch {epoch.epoch}/{epochs}, val accuracy {epoch.val_accuracy:.3f}",
        )

    with bar:
        train_student(
            learner, None, target, config.training, runtime, params.seed, Watch(context.work_folder, on_epoch=on_epoch)
        )
    preprocess.to(runtime.device)
    images = [some.to(runtime.device) for some in (val, triggered(val, config))]
    clean, attacked = (predict(learner, some, preprocess).argmax(1).cpu() for some in images)
    found = backdoor_inheritance(clean, attacked, val.labels, config.target_class)
    about = {
        "target_class": data.classes[config.target_class],
        "poisoned_images": int(chosen.sum()),
        "val_accuracy": found.accuracy,
        "val_targeted_rate": found.targeted_rate,
    }
    return learner.network.cpu().eval().requires_grad_(False), about
