"""The end of a process that is told to stop (Ctrl-C, SIGTERM, a cancelled run): clean if it can be, soon in any case.

The main thread unwinds by the exception of its signal handler. Inside a library that runs for
minutes without returning to Python, or at a server that does not answer, it cannot: then a thread
that the signal wakes ends the process, with all processes it started.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

from tasks.project.guard import SIGNALS, say

logger = logging.getLogger(__name__)

BY_HAND_SECONDS = 2.0
DEPLOYED_SECONDS = 5.0
"""Least time to unwind in; a worker needs a few seconds more to see that the run is to be cancelled, and to say that
it is."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as if it were Ctrl-C."""


def status_of(interrupt: KeyboardInterrupt) -> int:
    """The exit status of a program that a signal ended."""
    return 128 + (signal.SIGTERM if isinstance(interrupt, Terminated) else signal.SIGINT)


@contextmanager
def terminable() -> Iterator[None]:
    """Raise in the block: `Terminated` on SIGTERM, a KeyboardInterrupt on SIGINT."""

    def terminate(*_: object) -> NoReturn:
        raise Terminated

    raising = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: terminate}
    before = {number: signal.signal(number, raising[number]) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Exit with one line and status 130 on Ctrl-C, 143 on SIGTERM, within seconds; what was finished is kept."""
    try:
        with terminable(), ends_within(BY_HAND_SECONDS, last=say):
            yield
    except KeyboardInterrupt as e:
        say()
        sys.exit(status_of(e))


def _heard() -> tuple[signal.Signals, ...]:
    """The signals to stop that this thread is told of and does not ignore."""
    if threading.current_thread() is not threading.main_thread():
        return ()
    return tuple(number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)


@contextmanager
def ends_within(seconds: float, last: Callable[[], None] = lambda: None, reported: bool = False) -> Iterator[None]:
    """End this process within so many seconds of a first SIGINT or SIGTERM in the block, whatever it is doing then.

    It does nothing outside the main thread, which has no signals.

    Args:
        seconds: for the main thread to unwind, and for the process to exit.
        last: called before the process is ended by force; it may take a second.
        reported: the end is reported to somebody who takes another status than 0 for a crash.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals, woken = socket.socketpair()
    woken.setblocking(False)
    before = signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_look_on, args=(signals, seconds, last), daemon=True, name="stopping").start()
    complain = sys.unraisablehook
    sys.unraisablehook = partial(_tell_again, complain)
    try:
        yield
    except BaseException as e:
        if not isinstance(e, (Exception, SystemExit, GeneratorExit)):
            complain = _note
            number = signal.SIGINT if type(e) is KeyboardInterrupt else signal.SIGTERM
            atexit.register(_leave, 0 if reported and number == signal.SIGTERM else 128 + number)
        raise
    finally:
        sys.unraisablehook = complain
        signal.set_wakeup_fd(before)
        woken.close()


def end_soon(number: int) -> None:
    """End this process by force unless it ends itself within seconds: for loops that hear of signals themselves."""
    timer = threading.Timer(BY_HAND_SECONDS, _end, (number, say))
    timer.daemon = True
    timer.start()


def raise_for(number: int) -> NoReturn:
    """What a signal to stop raises, where a loop has heard of it."""
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _tell_again(complain: Callable[[sys.UnraisableHookArgs], None], complaint: sys.UnraisableHookArgs) -> None:
    """A signal to stop that met a destructor, out of which nothing is raised: it comes again."""
    if isinstance(complaint.exc_value, KeyboardInterrupt):
        again = status_of(complaint.exc_value) - 128
        threading.Timer(0.01, os.kill, (os.getpid(), again)).start()
    else:
        complain(complaint)


def _note(complaint: sys.UnraisableHookArgs) -> None:
    """What was being made when the signal came complains as it is taken apart: not on the terminal."""
    error = (complaint.exc_type, complaint.exc_value or complaint.exc_type(), complaint.exc_traceback)
    logger.debug("while stopping: %s", complaint.err_msg or complaint.object, exc_info=error)


def _leave(status: int) -> NoReturn:
    """Do what is to be done at exit, and exit: taking a million objects apart would take seconds more."""
    atexit.unregister(_leave)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _look_on(signals: socket.socket, seconds: float, last: Callable[[], None]) -> None:
    """Wait for a signal to stop, or for the end of the block; after a signal look on to the end of the process."""
    with signals:
        while received := signals.recv(1):
            if received[0] in SIGNALS:
                time.sleep(seconds)
                _end(received[0], last)


def _end(number: int, last: Callable[[], None]) -> NoReturn:
    """End this process and those it started, by force."""
    try:
        at_last = threading.Thread(target=last, daemon=True)
        at_last.start()
        at_last.join(1.0)
        end_children()
    finally:
        os._exit(128 + number)


def end_children() -> None:
    """End the processes that this one started, and those that they started."""
    import psutil

    children = psutil.Process().children(recursive=True)
    for process in children:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(children, timeout=0.5)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
