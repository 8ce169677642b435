"""One file for each command of `seam` that is more than a few lines."""
