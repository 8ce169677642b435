"""The stages of the pipeline: one file each, read files, call `seam`, write files."""

from tasks.project import environment as _environment

_environment.quiet()
