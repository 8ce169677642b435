"""Checkpoints that are fetched: from a server, torchvision, and torch.hub (of a repository in its cache).

And when that fails.
"""

import errno
import hashlib
import pickle
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import SqueezeNet1_1_Weights

from seam.errors import SourceError
from seam.networks.checkpoints_online import fetch_state_dict, is_online

WEIGHTS = {"fc.weight": torch.ones(2, 3)}
HUBCONF = """
import torch
def good(pretrained=False):
    network = torch.nn.Linear(3, 2, bias=False)
    torch.nn.init.constant_(network.weight, float(pretrained))
    return network
def broken(pretrained=False):
    return 1 / 0
def words(pretrained=False):
    return "not a network"
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """The address of a folder on this machine, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as listening:
        Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_address[1]}", folder
        listening.shutdown()


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torch.hub whose cache holds the repository someone/nets:main."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    repository = tmp_path / "torch/hub/someone_nets_main"
    repository.mkdir(parents=True)
    (repository / "hubconf.py").write_text(HUBCONF)


def _fails(checkpoint, *words, architecture="resnet20"):
    with pytest.raises(SourceError) as caught:
        fetch_state_dict(checkpoint, architecture)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(checkpoint)
    assert all(word in message for word in words), message


def test_what_is_fetched_and_what_is_a_file():
    assert all(map(is_online, ("torchvision:DEFAULT", "https://host/a.pth", "hub:a/b:c")))
    assert not any(map(is_online, ("a.pth", "models:/a/1", "hub/a.pth", "torchvision.pt", "/https/a.pt")))


def test_files_at_an_address(server):
    address, folder = server
    torch.save({"state_dict": {f"module.{k}": v for k, v in WEIGHTS.items()}}, folder / "a.pth")
    save_file(WEIGHTS, folder / "a.safetensors")
    for name in ("a.pth", "a.safetensors", "a.safetensors?download=true"):
        (tensor,) = fetch_state_dict(f"{address}/{name}", "resnet20").values()
        assert torch.equal(tensor, WEIGHTS["fc.weight"])


def test_a_hash_in_the_name_is_checked(server):
    address, folder = server
    save_file(WEIGHTS, folder / "a.safetensors")
    digest = hashlib.sha256((folder / "a.safetensors").read_bytes()).hexdigest()[:8]
    for part in (digest, "0123abcd"):
        save_file(WEIGHTS, folder / f"net-{part}.safetensors")
    assert fetch_state_dict(f"{address}/net-{digest}.safetensors", "resnet20")
    _fails(f"{address}/net-0123abcd.safetensors", "invalid hash value")


def test_addresses_that_give_nothing_usable(server, tmp_path):
    address, folder = server
    _fails(f"{address}/none.pth", "404", "check the name and the network")
    _fails("http://127.0.0.1:9/a.pth", "expected to download it", "refused")
    _fails("https://", "expected to download it")
    (folder / "page.pth").write_text("<html>log in first</html>")
    _fails(f"{address}/page.pth", "got a web page (HTML)")
    save_file(WEIGHTS, folder / "cut.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "cut.safetensors").read_bytes()[:50])
    _fails(f"{address}/cut.safetensors", "damaged or truncated")
    torch.save(nn.Linear(2, 2), folder / "whole.pt")
    _fails(f"{address}/whole.pt", "refused", "save `model.state_dict()` instead")


def test_a_pickle_from_an_address_does_not_run(server, tmp_path):
    address, folder = server

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (folder / "evil.pt").write_bytes(pickle.dumps(Evil()))
    _fails(f"{address}/evil.pt", "would execute code")
    assert not (tmp_path / "ran").exists()


def test_torchvisions_weights_by_name(monkeypatch):
    asked = []

    def published(self, *args, **settings):
        asked.append((self, settings["check_hash"]))
        return WEIGHTS

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", published)
    for name in ("DEFAULT", "IMAGENET1K_V1"):
        assert fetch_state_dict(f"torchvision:{name}", "torchvision:squeezenet1_1") is WEIGHTS
    assert asked == [(SqueezeNet1_1_Weights.IMAGENET1K_V1, True)] * 2


def test_torchvisions_weights_that_cannot_be_had(monkeypatch):
    _fails("torchvision:DEFAULT", "expected an architecture torchvision:NAME, got 'resnet20'")
    _fails("torchvision:IMAGENET1K_V7", "it has: IMAGENET1K_V1, DEFAULT", architecture="torchvision:squeezenet1_1")

    def unreachable(self, *args, **settings):
        raise URLError(OSError(errno.ENETUNREACH, "Network is unreachable"))

    monkeypatch.setattr(SqueezeNet1_1_Weights, "get_state_dict", unreachable)
    _fails(
        "torchvision:DEFAULT",
        "Network is unreachable",
        "download it elsewhere",
        architecture="torchvision:squeezenet1_1",
    )


def test_a_full_disk_is_no_error_of_the_checkpoint(monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch.hub, "download_url_to_file", full)
    with pytest.raises(OSError, match="No space left"):
        fetch_state_dict("https://host.invalid/a.pth", "resnet20")


def test_hub_gives_the_state_dict_of_a_pretrained_network(hub):
    found = fetch_state_dict("hub:someone/nets:main:good", "resnet20")
    assert torch.equal(found["weight"], torch.ones(2, 3))


def test_hub_names_that_do_not_work(hub, monkeypatch):
    _fails("hub:someone", "expected hub:OWNER/REPO:NAME")
    _fails("hub:someone/nets:main:broken", "ZeroDivisionError")
    _fails("hub:someone/nets:main:absent", "RuntimeError", "absent")
    _fails("hub:someone/nets:main:words", "expected a torch.nn.Module, got str")

    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "load", unreachable)
    _fails("hub:someone/other:good", "Name or service not known", "check the name and the network")
