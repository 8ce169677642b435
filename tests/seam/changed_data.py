"""Images and labels that a computation must know from those it began with, or must not."""

from seam.data.images import LabelledImages


def same(data: LabelledImages) -> LabelledImages:
    """The same content in other memory."""
    return LabelledImages(data.images.clone(), data.labels.clone())


def swapped(data: LabelledImages) -> LabelledImages:
    """Two classes' labels the other way round: sums of labels and pixels stay."""
    return LabelledImages(data.images, 1 - data.labels)


def mirrored(data: LabelledImages) -> LabelledImages:
    """Every image mirrored: sums of pixels stay."""
    return LabelledImages(data.images.flip(2), data.labels)
