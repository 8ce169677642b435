"""Many problems under many settings, on any number of machines: what `seam sweep` and `seam worker` do."""
