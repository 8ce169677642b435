"""The trained network that is transferred.

Fetched, loaded safely, tried on an image of the target, published with its hash.
"""

from __future__ import annotations

import torch

from seam.hardware import in_words
from seam.networks.build import build
from seam.networks.plain import load_either_form, plain_scores
from seam.networks.source import Preprocess, SourceInfo, channels_taken, per_channel, save_source
from tasks.inputs.backdoored_source import planted
from tasks.inputs.check_up import checked
from tasks.inputs.checkpoint import digests_of_files, fetch_checkpoint
from tasks.inputs.target import target_data
from tasks.project.stage import StageContext, StageResult, collect_warnings, main


def fetch_source(context: StageContext) -> StageResult:
    """Write source.safetensors and source.json (see `SourceInfo`).

    With `transfer.defect` backdoor the source is the network after the planting, with the target's
    classes.

    Raises:
        SourceError: the checkpoint cannot be had, is no state dict, does not fit the architecture
            and the number of classes, or the network does not take the target's images.
        ConfigError: there is no such architecture.
    """
    config = context.params.transfer
    network = build(config.architecture, config.num_classes)
    context.progress(0.0, f"checkpoint {config.checkpoint}")
    found = fetch_checkpoint(config.checkpoint, config.architecture, context.root, config.sha256)
    data = target_data(context)
    channels = channels_taken(network.eval(), data.image_shape)
    mean, std = per_channel(config.mean, channels), per_channel(config.std, channels)
    images = Preprocess(mean, std)(torch.from_numpy(data.x_train[:3]))
    with collect_warnings(context) as doubts:
        where = found.fetched_from or str(context.root / config.checkpoint)
        load_either_form(network, found.tensors, where, images[:1], config.weights)
        checked(network, images, config.num_classes, f"architecture '{config.architecture}'")
        plain_scores(network, images[:1], config.num_classes)
    backdoor = None
    if config.defect == "backdoor":
        network, backdoor = planted(context, network, mean, std)
    info = SourceInfo(
        architecture=config.architecture,
        num_classes=config.num_classes if backdoor is None else len(data.classes),
        classes=() if backdoor is None else data.classes,
        mean=mean,
        std=std,
        image_shape=data.image_shape,
        params_total=sum(p.numel() for p in network.parameters()),
        files=digests_of_files(config.architecture, config.checkpoint, context.root),
        fetched_from=found.fetched_from,
        warnings=tuple(doubts),
        backdoor=backdoor,
        computed_on=in_words(),
    )
    with context.publish() as out:
        save_source(network, info, out)
    return context.result({"architecture": config.architecture, "params_total": info.params_total})


if __name__ == "__main__":
    main(fetch_source, __doc__)
