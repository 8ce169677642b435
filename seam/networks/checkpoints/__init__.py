"""Weights in the forms in which files have them: what a file is, what is in it, what of it an architecture takes."""
