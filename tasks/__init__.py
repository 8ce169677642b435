"""The stages of the pipeline: one file each, read files, call `seam`, write files."""

import sys

from tasks.project import environment as _environment
from tasks.project import stopping as _stopping

_environment.quiet()
if sys.argv[:1] == ["-m"]:  # `python -m tasks.<stage>`, before the stage imports what it needs
    _stopping.guard()
