"""What images and classes there are: problems, problem sets, splits, labelled images."""
