"""Servers that are away for a while: what fails for them is tried again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, before_sleep_log, retry_if_exception, stop_after_delay, wait_exponential

from flows.dvc_travel import RemoteError
from seam.errors import NoAnswerError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
SECONDS = 120.0


def may_pass(error: BaseException) -> bool:
    """Whether it is a server's fault that may be over in a minute."""
    return isinstance(error, RemoteError | NoAnswerError)


def patiently(body: Callable[[], Result]) -> Result:
    """Try again, less and less often, for two minutes, what fails for a server that is away."""
    tries = Retrying(
        retry=retry_if_exception(may_pass),
        wait=wait_exponential(multiplier=2, max=20),
        stop=stop_after_delay(SECONDS),
        before_sleep=before_sleep_log(logger, logging.WARNING),
        reraise=True,
    )
    return tries(body)
