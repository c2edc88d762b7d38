"""Pickles that run code when they are loaded, in every disguise, and targets that Hydra would call."""

from __future__ import annotations

import builtins
import functools
import importlib
import io
import json
import os
import pickle
import posix
import runpy
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save

from faults.traps import MARK


class _Call:
    """Pickles as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __call__(self) -> None:
        """What pickles as the function of a call must look like one."""

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


def gadgets(folder: Path) -> dict[str, object]:
    """Twelve objects whose loading makes the file ``folder/marker``.

    Args:
        folder: Where the hostile code lies.
    """
    marker = folder / "marker"
    touch, code = f"touch {marker} # {MARK}", f"open({str(marker)!r}, 'w') # {MARK}"
    (folder / "hostile_module.py").write_text(code)
    (folder / "hubconf.py").write_text(f"{code}\ndef entry(): pass\n")
    torch.save(_Call(os.system, touch), folder / "inner.pt")
    return {
        "os.system": _Call(os.system, touch),
        "posix.system": _Call(posix.system, touch),
        "eval": _Call(eval, code),
        "exec": _Call(exec, code),
        "subprocess.Popen": _Call(subprocess.Popen, ["touch", str(marker)]),
        "builtins.open": _Call(builtins.open, str(marker), "w"),
        "runpy.run_path": _Call(runpy.run_path, str(folder / "hostile_module.py")),
        "torch.load": _Call(functools.partial(torch.load, weights_only=False), str(folder / "inner.pt")),
        "torch.hub.load": _Call(functools.partial(torch.hub.load, source="local"), str(folder), "entry"),
        "getattr": _Call(_Call(getattr, _Call(importlib.import_module, "os"), "system"), touch),
        "functools.partial": _Call(_Call(functools.partial, os.system, touch)),
        "importlib.import_module": _Call(importlib.import_module, "hostile_module"),
    }


def _zipped(gadget: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": gadget}, buffer)
    return buffer.getvalue()


def _legacy(gadget: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": gadget}, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def _tarred(gadget: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("storages", "tensors", "pickle"):
            data = pickle.dumps(gadget, protocol=2)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _script(gadget: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/version", "3\n")
        archive.writestr("model/data.pkl", pickle.dumps(gadget, protocol=2))
        archive.writestr("model/constants.pkl", pickle.dumps(gadget, protocol=2))
        archive.writestr("model/code/__torch__.py", f"import os\nos.system('touch {MARK}')\n")
    return buffer.getvalue()


def _nested(gadget: object, weights: bytes) -> bytes:
    inner = torch.frombuffer(bytearray(_zipped(gadget)), dtype=torch.uint8)
    return save({**load(weights), "storage": inner})


def _slot(gadget: object, weights: bytes) -> bytes:
    """The pickle in place of the bytes of a tensor that is there: of the generator where there is one."""
    data = torch.frombuffer(bytearray(pickle.dumps(gadget, protocol=2)), dtype=torch.uint8)
    if not weights:  # of a checkpoint that holds weights only
        return save({"noise/000": data})
    tensors = load(weights)
    name = next((name for name in tensors if name.startswith("noise/")), next(iter(tensors)))
    room = tensors[name].contiguous().view(torch.uint8).flatten()
    filled = torch.cat([data, room])[: room.numel()] if room.numel() else room
    return save({**tensors, name: filled.view(tensors[name].dtype).view(tensors[name].shape)})


DISGUISES: dict[str, tuple[str, Callable[[object, bytes], bytes]]] = {
    "zip archive": ("model.safetensors", lambda gadget, _: _zipped(gadget)),
    "legacy file": ("model.safetensors", lambda gadget, _: _legacy(gadget)),
    "tar archive": ("model.safetensors", lambda gadget, _: _tarred(gadget)),
    "bytes of a storage": ("model.safetensors", _nested),
    "renamed to .json": ("state.json", lambda gadget, _: pickle.dumps(gadget)),
    "slot of the state": ("state.safetensors", _slot),
    "TorchScript": ("model.safetensors", lambda gadget, _: _script(gadget)),
}
"""The file of a checkpoint that it takes the place of, and how."""

INERT = ("slot of the state",)
"""Bytes among others, which kd may well keep as such."""

_CALLABLES = """
os.system os.popen os.execv os.spawnl os.remove os.makedirs os.mkdir os.rename os.putenv os.kill posix.system posix.fork
subprocess.run subprocess.call subprocess.Popen subprocess.check_output subprocess.getoutput pty.spawn
builtins.eval builtins.exec builtins.open builtins.compile builtins.__import__ builtins.getattr builtins.print io.open
io.FileIO codecs.open pathlib.Path.touch pathlib.Path.write_text pathlib.Path.unlink pathlib.Path.mkdir shutil.copy
shutil.rmtree shutil.move shutil.copyfile tempfile.mkdtemp tempfile.NamedTemporaryFile tarfile.open zipfile.ZipFile
importlib.import_module importlib.reload runpy.run_path runpy.run_module pickle.loads pickle.load marshal.loads
shelve.open dbm.open sqlite3.connect ctypes.CDLL ctypes.cdll.LoadLibrary code.interact timeit.timeit cProfile.run
trace.Trace pdb.run doctest.testfile webbrowser.open urllib.request.urlopen urllib.request.urlretrieve
http.client.HTTPConnection
socket.socket socket.create_connection ftplib.FTP smtplib.SMTP telnetlib.Telnet xmlrpc.client.ServerProxy asyncio.run
multiprocessing.Process threading.Thread concurrent.futures.ProcessPoolExecutor signal.signal sys.exit sys.settrace
logging.os.system logging.FileHandler logging.config.fileConfig logging.config.dictConfig logging.handlers.SocketHandler
torch.load torch.save torch.hub.load torch.hub.load_state_dict_from_url torch.jit.load torch.ops.load_library
torch.utils.cpp_extension.load torch.classes.load_library torch.serialization.load torch.multiprocessing.spawn
numpy.load numpy.save numpy.savetxt numpy.fromfile numpy.memmap numpy.f2py.compile numpy.ctypeslib.load_library
yaml.load yaml.unsafe_load yaml.full_load hydra.utils.instantiate hydra.utils.call hydra.utils.get_method
omegaconf.OmegaConf.load omegaconf.OmegaConf.register_new_resolver matplotlib.pyplot.savefig PIL.Image.open
functools.partial functools.reduce operator.methodcaller operator.attrgetter types.FunctionType inspect.getsource
kdcli.models.custom.load_factory kdcli.disk.remove_tree kdcli.disk.write_atomic kdcli.__main__.main hostile_module
"""


def targets(marker: Path) -> list[dict[str, object]]:
    """More than a hundred mappings that Hydra's ``instantiate`` would call."""
    made = []
    for number, name in enumerate(_CALLABLES.split()):
        form: dict[str, object] = {"_target_": name, "_args_": [str(marker)]}
        if number % 3 == 1:
            form = {"_target_": name, "_partial_": number % 2 == 0, "path": str(marker), "mode": "w"}
        elif number % 3 == 2:
            form = {
                "_target_": name,
                "_args_": [{"_target_": "os.system", "_args_": [f"touch {marker}"]}],
                "_recursive_": True,
            }
        made.append(form)
    return made


def rewrite(run: Path, pointer: str, name: str, change: Callable[[bytes], bytes]) -> None:
    """What an attacker can do: replace a file of a checkpoint, and all digests with it."""
    import hashlib

    store = run / "checkpoints"
    step = store / json.loads((store / f"{pointer}.json").read_text())["dir"]
    data = change((step / name).read_bytes()) if (step / name).exists() else change(b"")
    (step / name).write_bytes(data)
    manifest = json.loads((step / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    raw = json.dumps(manifest).encode()
    (step / "manifest.json").write_bytes(raw)
    for other in store.glob("*.json"):
        if json.loads(other.read_text())["dir"] == step.name:
            digest = hashlib.sha256(raw).hexdigest()
            other.write_text(json.dumps({"dir": step.name, "manifest_sha256": digest}) + "\n")
