"""Target problems in bulk: one for every class of a data set, or one for every published superclass."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from seam.errors import DataError

CIFAR100_SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
"""Superclass -> its five fine classes, spelled as torchvision does. Source: Krizhevsky 2009,
section 3."""

_IMAGENET_FILE = Path(__file__).parent / "imagenet_superclasses.json"
IMAGENET_SUPERCLASSES: dict[str, tuple[str, ...]] = {
    name: tuple(wnids) for name, wnids in json.loads(_IMAGENET_FILE.read_text("utf-8")).items()
}
"""Superclass -> its 2 to 119 classes, as ImageNet's folders are named (n01440764). The 64 of SeaM
(ICSE 2023), which leaves out the three of a single class; categories from
imagenet_categories_synset.csv in github.com/noameshed/novelty-detection (MIT License, Copyright (c)
2021 Noam Eshed)."""

SUPERCLASSES: dict[str, dict[str, tuple[str, ...]]] = {
    "cifar100": CIFAR100_SUPERCLASSES,
    "imagenet": IMAGENET_SUPERCLASSES,
}
"""Name of a set of superclasses -> the set."""


def every_class(classes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """One binary problem a class (that class against the rest), in the order of the classes.

    Problem's name -> its class.
    """
    return _named({c: (c,) for c in classes})


def superclass_problems(
    superclasses: Mapping[str, Sequence[str]], classes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """One multi-class problem for each superclass whose classes are all in the data set.

    Raises:
        DataError: that is none of them.
    """
    whole = {name: tuple(members) for name, members in superclasses.items() if set(members) <= set(classes)}
    if not whole:
        example = next(iter(superclasses))
        raise DataError(
            f"expected a data set with the classes of a superclass (such as {example}:"
            f" {', '.join(superclasses[example])}), got: {', '.join(classes[:5])}, ... ({len(classes)} classes)",
            hint="data_path",
        )
    return _named(whole)


def slug(name: str) -> str:
    """A problem's name ([a-z0-9][a-z0-9_-]*) made of any text; never only digits, and never `all`."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_")
    return plain if plain not in ("", "all") and not plain.isdigit() else f"class-{plain}".rstrip("-")


def _named(problems: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """The same under slugs; a second one of the same slug gets a number."""
    named: dict[str, tuple[str, ...]] = {}
    for name, classes in problems.items():
        named[unused(slug(name), named)] = classes
    return named


def unused(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or name-2, name-3, ... if it is taken."""
    count, free = 1, name
    while free in taken:
        count += 1
        free = f"{name}-{count}"
    return free
