"""The stages of the pipeline: one file each, read files, call `seam`, write files."""

from tasks.project import guard as _guard

_guard.guard_program()  # before anything that takes time to import

from tasks.project import environment as _environment  # noqa: E402

_environment.quiet()
