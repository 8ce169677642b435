"""One process at a time at the versions and aliases of a registered model, on however many machines they are.

A store that processes open themselves has a lock (tasks.tracking.store). Behind a server nothing is
locked; there the registry's own numbers make the queue: who wants a turn makes a version of
`seam-turns`, which no two get with the same number and no number is given out twice, and whose
number is the lowest has the turn. It ends when that version is deleted: by whoever made it, or by one that
waits, when its process is gone from this machine or nothing was heard of it for `LEASE` seconds.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from seam.errors import NoAnswerError
from tasks.tracking.owner import owner_of, owner_tags
from tasks.tracking.store import LOST, locked, shown

QUEUE = "seam-turns"
_ABOUT = "Not a model: who registers a version or moves an alias at the moment (seam); the versions are deleted again."
_OF, _TOKEN, _HEARD = "seam.turn", "seam.token", "seam.heard"
LEASE = 90.0
"""Seconds without a sign of life from another machine, measured by whoever waits: longer than a call to the server may
take with its retries."""
_TRIES = 200
Keep = Callable[[], None]
"""Makes sure that the turn is still ours, and says so to those that wait; raises a NoAnswerError if it is not."""


@contextmanager
def turn(client: MlflowClient, uri: str, name: str) -> Iterator[Keep]:
    """Have the model `name` of the store at `uri` alone; what is given is to be called before each step that counts.

    Raises:
        MlflowException: the registry cannot be used.
    """
    if not uri.startswith(("http://", "https://")):
        with locked(uri):
            yield lambda: None
        return
    ticket = _Ticket(client, uri, name)
    try:
        ticket.wait()
        yield ticket.keep
    finally:
        ticket.end()


class _Ticket:
    def __init__(self, client: MlflowClient, uri: str, name: str) -> None:
        self.client, self.uri, self.name = client, uri, name
        self.token = uuid.uuid4().hex
        with unless_code("RESOURCE_ALREADY_EXISTS"):
            client.create_registered_model(QUEUE, description=_ABOUT)

    def wait(self) -> None:
        """Until it is the lowest."""
        first, since = "", time.monotonic()
        while True:
            queue = self._queue()
            own = self._own(queue)
            if not own:  # at first; or it was taken for dead
                self._draw()
                continue
            ahead, now = queue[0], time.monotonic()
            if ahead is own[0]:
                return
            seen = f"{ahead.version} {ahead.tags.get(_HEARD)}"
            if seen != first:
                first, since = seen, now
            worker = owner_of(ahead.tags)
            if (worker is not None and worker.is_gone) or now - since > LEASE:
                self._delete(str(ahead.version))
                continue
            time.sleep(min(2.0, 0.15 * queue.index(own[0])) * random.uniform(0.7, 1.3))

    def keep(self) -> None:
        """Raise unless the turn is still ours."""
        own = self._own(self._queue())
        if not own:
            raise NoAnswerError(
                f"{self.name} in {shown(self.uri)}: nothing was heard of this process for {LEASE:.0f} s, another one"
                " registers; run the stage again."
            )
        self.client.set_model_version_tag(QUEUE, str(own[0].version), _HEARD, str(time.time()))

    def end(self) -> None:
        """The next one's turn."""
        with suppress(*LOST):  # those that wait see that this process is gone, or hear nothing of it
            for version in self._own(self._queue()):  # two, where an answer was lost on its way and asked for again
                self._delete(str(version.version))

    def _draw(self) -> None:
        """Get a number; of many that ask at once some are refused, and ask again."""
        tags = {_OF: self.name, _TOKEN: self.token, **owner_tags()}
        for left in reversed(range(_TRIES)):
            try:
                self.client.create_model_version(QUEUE, f"seam://turn/{self.token}", tags=tags, await_creation_for=0)
                return
            except MlflowException as e:
                if not left or e.get_http_status_code() < 500:  # type: ignore[no-untyped-call]
                    raise
                time.sleep(random.uniform(0.05, 0.3))

    def _queue(self) -> list[ModelVersion]:
        """Who wants a turn at the same model, by number."""
        found = self.client.search_model_versions(f"name = '{QUEUE}'")
        same = [version for version in found if version.tags.get(_OF) == self.name and _TOKEN in version.tags]
        return sorted(same, key=lambda version: int(version.version))

    def _own(self, versions: Sequence[ModelVersion]) -> list[ModelVersion]:
        return [version for version in versions if version.tags[_TOKEN] == self.token]

    def _delete(self, number: str) -> None:
        with unless_code("RESOURCE_DOES_NOT_EXIST"):
            self.client.delete_model_version(QUEUE, number)


@contextmanager
def unless_code(code: str) -> Iterator[None]:
    """Go on where MLflow answers with this code."""
    try:
        yield
    except MlflowException as e:
        if e.error_code != code:
            raise
