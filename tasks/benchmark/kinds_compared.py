"""Kinds of images on which engines are compared with torch."""

KINDS = {
    "test": "test images",
    "noise": "uniform noise",
    "extreme": "all 0, all 255, checkerboards, one channel alone",
    "attacked": "test images changed by PGD so that the model answers something else",
}
"""Name -> in words."""
