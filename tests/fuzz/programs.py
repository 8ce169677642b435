"""What is fuzzed and is more than a file with a reader: `--set`, dvc.lock in a project, requests, by drawn values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from email import message_from_bytes
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any, Protocol

import numpy as np
from PIL import Image
from ruamel.yaml import YAML
from starlette.testclient import TestClient

from flows.stage_cache import StageCache
from seam.errors import SeamError
from tasks.project.change_params import change_params
from tasks.project.params import load_params
from tasks.project.subject import PIPELINE, Address
from tasks.serving.app import Served, make_app
from tasks.serving.asked import Limits, Takes
from tests.defaults import write_params
from tests.fuzz.judge import Verdict, judged
from tests.fuzz.mutate import WORDS, WRONG, damaged_bytes, damaged_text
from tests.fuzz.targets import said_so
from tests.stub_stages import sitecustomize


class Program(Protocol):
    """Something that takes inputs."""

    def tried(self, seed: int, number: int) -> Verdict:
        """The verdict on an input, which is a function of (seed, number)."""


class Overrides:
    """`--set KEY=VALUE`: what is accepted is what the file says afterwards; what is refused changes nothing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._path = write_params(folder / "params.yaml")
        self._content = self._path.read_bytes()
        document = YAML(typ="safe", pure=True).load(self._content.decode())
        self._keys = [f"{s}.{k}" for s, v in document.items() if isinstance(v, dict) for k in v] + list(document)

    def tried(self, seed: int, number: int) -> Verdict:
        draw = Random(f"set:{seed}:{number}")
        value = draw.choice([json.dumps(draw.choice(WRONG)), draw.choice(WORDS), f"[{draw.choice(WORDS)}]"])
        override = f"{draw.choice(self._keys)}={value}"
        if draw.random() < 0.3:
            override = damaged_text(override.encode(), draw).decode(errors="replace")
        try:
            return judged(lambda: self._set(override), self._path.parent)
        finally:
            self._path.write_bytes(self._content)

    def _set(self, override: str) -> str:
        try:
            change_params(self._path, [override])
        except SeamError as e:
            if self._path.read_bytes() != self._content:
                return f"refused, and changed the file: {override!r}"
            raise type(e)(" ".join(str(e).split())) from e  # as `seam` says it
        key, _, value = override.partition("=")
        said = YAML(typ="safe", pure=True).load(value)
        found: Any = load_params(self._path).model_dump(mode="json")
        for part in key.strip().split("."):
            found = found.get(part) if isinstance(found, dict) else None
        is_text = key.strip().startswith("problems")
        return "read" if is_text or said_so(found, said) else f"{override!r} was read as {found!r}"


class Locks:
    """A damaged dvc.lock of a project whose stages are all up to date, and what is said to be stale."""

    def __init__(self, folder: Path) -> None:
        self._root = sitecustomize.make_project(folder)
        self._lock = self._root / "dvc.lock"
        stages = ("prepare_source", "validate_data")
        self._addresses = [Address(PIPELINE, stage) for stage in stages]
        section = (
            "  {0}:\n    cmd: python -m tasks.{0}\n    deps:\n    - path: data/digits.npz\n      hash: md5\n"
            "      md5: 5f532a3fc4f1ea403f37070f59a7a53a\n      size: 4\n    params:\n      params.yaml:\n"
            "        data.kind: npz\n    outs:\n    - path: artifacts/{0}\n      hash: md5\n"
            "      md5: 0cc175b9c0f1b6a831c399e269772661\n      size: 1\n"
        )
        self._content = ("schema: '2.0'\nstages:\n" + "".join(map(section.format, stages))).encode()

    def tried(self, seed: int, number: int) -> Verdict:
        draw = Random(f"lock:{seed}:{number}")
        self._lock.write_bytes(damaged_text(self._content, draw))
        return judged(self._ask, self._root / "tasks")

    def _ask(self) -> str:
        cache = StageCache(self._root)
        try:
            stale = [bool(cache.staleness(address)) for address in self._addresses]
        finally:
            cache.close()
        return "read" if all(stale) else "up to date, and nothing was ever made"


class Requests:
    """Bodies for the server of a model that answers each image's mean."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True)
        served = Served(lambda images: [{"mean": float(i.mean())} for i in images], Takes(4, 4, 1), "3")
        limits = Limits(body_bytes=1_000_000, images=50)
        self._server = TestClient(make_app(served, limits), raise_server_exceptions=False)
        images = np.random.default_rng(3).integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
        stream = BytesIO()
        Image.fromarray(images[0, ..., 0]).save(stream, "PNG")
        part = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n%b\r\n' % stream.getvalue()
        )
        self._bodies = {
            "application/json": json.dumps({"inputs": images.tolist()}).encode(),
            "image/png": stream.getvalue(),
            "multipart/form-data; boundary=b": part + part + b"--b--\r\n",
        }

    def tried(self, seed: int, number: int) -> Verdict:
        draw = Random(f"request:{seed}:{number}")
        kind = draw.choice([*self._bodies, "application/json"])
        damage = draw.choice([damaged_bytes, damaged_text, _other_numbers] if "json" in kind else [damaged_bytes])
        return judged(lambda: self.asked(kind, damage(self._bodies[kind], draw)), self._folder)

    def asked(self, kind: str, body: bytes) -> str:
        """What became of a body."""
        response = self._server.post("/invocations", content=body, headers={"Content-Type": kind})
        if response.status_code != 200:
            line = response.json()["message"]
            good = response.status_code in (400, 408, 413, 415) and 0 < len(line) < 400 and "\n" not in line
            return "refused" if good else f"{response.status_code}: {line[:300]}"
        answers = [row["mean"] for row in response.json()["predictions"]]
        return "read" if answers == self._right(kind, body) else f"answered {answers[:3]} for {body[:200]!r}"

    def _right(self, kind: str, body: bytes) -> Sequence[float] | None:
        """The means of the images, by another reader; of files that are whole the picture's own."""
        if "json" not in kind:
            undamaged = np.array(Image.open(BytesIO(self._bodies["image/png"]))).mean()
            return [float(undamaged)] * (1 if kind == "image/png" else _files(kind, body))
        content = json.loads(body)
        values = np.array(next(iter(content.values())))
        whole = values.dtype.kind in "iu" and values.shape[1:] == (4, 4, 1) and values.min() >= 0 and values.max() < 256
        return [float(image.mean()) for image in values] if whole else None


def _files(kind: str, body: bytes) -> int:
    """How many files a form has, by another reader."""
    parts = message_from_bytes(b"Content-Type: %b\r\n\r\n%b" % (kind.encode(), body)).get_payload()
    return len(parts) if isinstance(parts, list) else 0


def _other_numbers(body: bytes, draw: Random) -> bytes:
    """A JSON body with some value of another kind in place of a number."""
    numbers = json.loads(body)["inputs"]
    place: Any = numbers
    while isinstance(place[0], list) and draw.random() < 0.8:
        place = draw.choice(place)
    place[draw.randrange(len(place))] = draw.choice((*WRONG, 255, 256, 255.0, "255", 1e2))
    return json.dumps({draw.choice(("inputs", "instances")): numbers}).encode()


PROGRAMS: Mapping[str, Callable[[Path], Program]] = {"--set": Overrides, "dvc.lock": Locks, "requests": Requests}
