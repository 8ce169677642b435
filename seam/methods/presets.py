"""The published settings of SeaM's and ReMoS's experiments, by name.

What no preset can repeat: both choose or measure on the test split; SeaM stops training 30 epochs
after the best one, here all 300 run and the best epoch on val is kept.
"""

from __future__ import annotations

from dataclasses import replace

from seam.configs.methods import RemosConfig, TransferConfig
from seam.configs.search import TransferSearchConfig
from seam.configs.training import StudentTraining

SEAM = TransferConfig(
    removal=0.5,
    search=TransferSearchConfig(
        method="drift", rounds=300, lr_scores=0.05, lr_head=0.001, alpha=0.5, adam_eps=1e-8, augment="resized_crop_flip"
    ),
    training=StudentTraining(epochs=300, augment="resized_crop_flip"),
    retrain=StudentTraining(epochs=300, lr=0.1, lr_head=0.1, momentum=0.5, augment="resized_crop_flip"),
)
"""SeaM section 5.4, figures 6 and 7: ResNet18 and ResNet50 alike; plain cross-entropy, no dropout,
removed weights regrow."""

SEAM_DROPOUT = replace(SEAM, training=replace(SEAM.training, spatial_dropout=0.1))
"""SeaM figure 8. It names no value for the dropout; 0.1 is ReMoS's."""

REMOS_RESNET18 = TransferConfig(
    removal=0.8,
    remos=RemosConfig(ratio=0.1),
    training=StudentTraining(
        steps=30_000, spatial_dropout=0.1, label_smoothing=0.1, keep="last", augment="resized_crop_flip"
    ),
    retrain=StudentTraining(
        steps=30_000, lr=0.01, lr_head=0.01, momentum=0.9, weight_decay=5e-3, keep="last", augment="resized_crop_flip"
    ),
)
"""ReMoS, script of ResNet18. The removal is that of its magnitude-pruned baseline."""

REMOS_RESNET50 = replace(REMOS_RESNET18, remos=RemosConfig(ratio=0.03))
"""ReMoS, script of ResNet50."""

REMOS_BACKDOOR = replace(REMOS_RESNET50, training=replace(REMOS_RESNET18.training, steps=10_000, lr_head=0.005))
"""ReMoS, students of a backdoored ResNet50: one rate for all layers."""

BACKDOOR_TEACHER = StudentTraining(
    steps=30_000, lr=0.005, lr_head=0.005, label_smoothing=0.1, keep="last", augment="none"
)
"""ReMoS: fine-tuning of the backdoored teacher on the poisoned target images. *Differs*: without
augmentation, which would move the trigger."""

PRESETS: dict[str, TransferConfig] = {
    "seam": SEAM,
    "seam_dropout": SEAM_DROPOUT,
    "remos_resnet18": REMOS_RESNET18,
    "remos_resnet50": REMOS_RESNET50,
    "remos_backdoor": REMOS_BACKDOOR,
}
"""Name -> published settings."""
