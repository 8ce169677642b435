"""What a pickle of torch.save would do, read off its instructions; none of them is done.

A pickle is a program of a small machine with a stack. Here a call stays a `Call`, so that what a
checkpoint would run, and how many bytes it says its tensors have, is known before it is loaded.
"""

from __future__ import annotations

import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import Any

_RUN = (
    *("os", "posix", "nt", "subprocess", "pty", "multiprocessing", "asyncio", "ctypes", "shutil", "sys"),
    *("runpy", "importlib", "code", "codeop", "pdb", "bdb", "timeit", "pickle", "_pickle", "pip", "torch.hub"),
    *("socket", "http", "urllib", "requests", "webbrowser"),
)
"""Modules whose functions run programs or code, reach the network, or change files."""
_RUN_BUILTINS = frozenset({"eval", "exec", "compile", "open", "__import__", "breakpoint", "input", "execfile"})
_MOST = 5_000_000
"""Instructions that are looked at; a network of a thousand layers has some tens of thousands."""
_STREAMS = 5
"""Pickles one after the other in a file of torch before 1.6: three short ones, the content, names of storages."""
_LONGEST = 120
_PARTS = 4
"""Of a tuple that are said, and levels of them."""
_MARK = object()
File = BufferedReader | BytesIO
"""Opened to be read, whichever it is."""


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle imports."""

    text: str

    @property
    def runs(self) -> bool:
        """Whether calling it runs a program or code, or reaches beyond this process."""
        module, _, name = self.text.rpartition(".")
        if module == "builtins":
            return name in _RUN_BUILTINS
        return any(module == bad or module.startswith(f"{bad}.") for bad in _RUN)


@dataclass(frozen=True)
class Call:
    """A function that a pickle calls, as text, and what it is given."""

    function: Any
    given: Any


@dataclass(frozen=True)
class Storage:
    """The values of tensors, as a pickle refers to them."""

    key: str
    """Of its bytes in the archive."""
    nbytes: int


@dataclass(frozen=True)
class Examined:
    """A pickle."""

    calls: tuple[Call, ...]
    names: tuple[Name, ...]
    storages: tuple[Storage, ...]

    @property
    def would_run(self) -> str | None:
        """The first call in it that runs code or a program; None: there is none."""
        found = next((call for call in self.calls if isinstance(call.function, Name) and call.function.runs), None)
        return None if found is None else _text(found)[:_LONGEST]


def examine(file: File) -> Examined:
    """The instructions of a file of torch.save, in an archive or not; as many as can be read.

    Args:
        file: opened to be read from its start, where it is left.

    Raises:
        ValueError: there are more than any checkpoint has.
    """
    machine = _Machine()
    try:
        for stream in _streams(file):
            machine.run(stream)
    except _TooMany:
        raise ValueError(f"a pickle of more than {_MOST:,} instructions") from None
    except Exception:  # whatever is wrong with it, reading it says so
        pass
    finally:
        file.seek(0)
    return Examined(tuple(machine.calls), tuple(machine.names), tuple(machine.storages))


def _streams(file: File) -> Iterator[File]:
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    yield BytesIO(archive.read(entry))
        return
    file.seek(0)
    for _ in range(_STREAMS):
        yield file


class _TooMany(Exception):  # noqa: N818
    pass


class _Machine:
    """The stack and the memory of a pickle."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.names: list[Name] = []
        self.storages: list[Storage] = []
        self._stack: list[Any] = []
        self._memory: dict[int, Any] = {}
        self._done = 0

    def run(self, stream: File) -> None:
        """One pickle, up to its end."""
        self._stack, self._memory = [], {}
        for opcode, argument, _ in pickletools.genops(stream):
            self._done += 1
            if self._done > _MOST:
                raise _TooMany
            step = _STEPS.get(opcode.name)
            if step is not None:
                step(self, argument)
            elif opcode.stack_after and not opcode.stack_before:
                self._stack.append(_CONSTANTS.get(opcode.name, "...") if argument is None else argument)

    def imported(self, module: str, name: str) -> Name:
        """A name as Python 3 has it."""
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        self.names.append(Name(f"{module}.{name}"))
        return self.names[-1]

    def global_(self, argument: str) -> None:
        """`module name`, or both from the stack."""
        module, _, name = argument.partition(" ")
        self._stack.append(self.imported(module, name))

    def stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self.imported(str(module), str(name)))

    def call(self, _: Any) -> None:
        """A function with its arguments, both on the stack."""
        given, function = self._stack.pop(), self._stack.pop()
        self.called(function, given)

    def call_named(self, argument: str) -> None:
        given = tuple(self.since_mark())
        module, _, name = argument.partition(" ")
        self.called(self.imported(module, name), given)

    def call_first(self, _: Any) -> None:
        function, *given = self.since_mark()
        self.called(function, tuple(given))

    def call_with_names(self, _: Any) -> None:
        self._stack.pop()
        self.call(_)

    def called(self, function: Any, given: Any) -> None:
        """The result of a call is the call."""
        self.calls.append(Call(function, given))
        self._stack.append(self.calls[-1])

    def since_mark(self) -> list[Any]:
        """What was put on the stack since the last mark."""
        found: list[Any] = []
        while (top := self._stack.pop()) is not _MARK:
            found.append(top)
        return found[::-1]

    def keep(self, argument: int | None) -> None:
        self._memory[len(self._memory) if argument is None else argument] = self._stack[-1]

    def recall(self, argument: int) -> None:
        self._stack.append(self._memory.get(argument))

    def refer(self, _: Any) -> None:
        """To the storage of a tensor: ("storage", its class, key, device, number of values)."""
        said = self._stack.pop()
        self._stack.append(said)
        if isinstance(said, tuple) and len(said) >= 5 and isinstance(said[1], Name) and isinstance(said[4], int):
            self.storages.append(Storage(str(said[2]), said[4] * _itemsize(said[1].text)))

    def tuple_of(self, count: int) -> None:
        parts = [self._stack.pop() for _ in range(count)]
        self._stack.append(tuple(parts[::-1]))

    def dict_of(self, _: Any) -> None:
        self.since_mark()
        self._stack.append({})

    def extend(self, parts: list[Any]) -> None:
        """A list, which is below them on the stack."""
        if isinstance(self._stack[-1], list):
            self._stack[-1].extend(parts[:_PARTS])

    def drop(self, count: int) -> None:
        """What is added to the object below."""
        del self._stack[len(self._stack) - count :]


_CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONSTANTS |= {"EMPTY_DICT": {}, "EMPTY_SET": set()}
_STEPS: dict[str, Callable[[_Machine, Any], object]] = {
    "MARK": lambda m, _: m._stack.append(_MARK),
    "POP": lambda m, _: m._stack.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m._stack.append(m._stack[-1]),
    "GLOBAL": _Machine.global_,
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_names,
    "INST": _Machine.call_named,
    "OBJ": _Machine.call_first,
    "BUILD": lambda m, _: m.drop(1),
    "EMPTY_LIST": lambda m, _: m._stack.append([]),
    "APPEND": lambda m, _: m.extend([m._stack.pop()]),
    "APPENDS": lambda m, _: m.extend(m.since_mark()),
    "ADDITEMS": lambda m, _: m.since_mark(),
    "SETITEM": lambda m, _: m.drop(2),
    "SETITEMS": lambda m, _: m.since_mark(),
    "TUPLE": lambda m, _: m._stack.append(tuple(m.since_mark())),
    "LIST": lambda m, _: m._stack.append(m.since_mark()),
    "FROZENSET": lambda m, _: m._stack.append(m.since_mark()),
    "DICT": _Machine.dict_of,
    "TUPLE1": lambda m, _: m.tuple_of(1),
    "TUPLE2": lambda m, _: m.tuple_of(2),
    "TUPLE3": lambda m, _: m.tuple_of(3),
    "PUT": _Machine.keep,
    "BINPUT": _Machine.keep,
    "LONG_BINPUT": _Machine.keep,
    "MEMOIZE": _Machine.keep,
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "BINPERSID": _Machine.refer,
    "PERSID": lambda m, argument: m._stack.append(argument),
}
"""What an instruction does to the stack; one that is not here puts its argument, or something empty, on it."""


def _itemsize(storage: str) -> int:
    """Bytes of a value, by the name of its storage's class; 1 for one that is not known."""
    kinds = {"Double": 8, "Long": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2, "Short": 2}
    kinds |= {"ComplexFloat": 8, "ComplexDouble": 16}
    return kinds.get(storage.rpartition(".")[2].removesuffix("Storage"), 1)


def _text(value: Any, level: int = 0) -> str:
    """As Python has it, shortened: a pickle may hold the same tuple in itself a billion times."""
    if isinstance(value, Name):
        return value.text
    if isinstance(value, (str, bytes)):
        return ascii(value[:_LONGEST])
    if isinstance(value, (Call, tuple, list)) and level < _PARTS:
        given = value.given if isinstance(value, Call) else value
        parts = given[:_PARTS] if isinstance(given, (tuple, list)) else (given,)
        before = _text(value.function, level + 1) if isinstance(value, Call) else ""
        inside = ", ".join(_text(part, level + 1) for part in parts)
        return f"[{inside}]" if isinstance(value, list) else f"{before}({inside})"
    return ascii(value) if isinstance(value, (bool, int, float, type(None))) else "..."
