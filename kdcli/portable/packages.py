"""The packages of the extra ``onnx``, which need not be installed."""

from __future__ import annotations

from importlib.util import find_spec

from kdcli.errors import MachineError

TO_WRITE = ("onnx", "onnxscript", "onnxruntime")
TO_READ = ("onnx", "onnxruntime")


def need(packages: tuple[str, ...], what: str) -> None:
    """Raise MachineError, naming the extra, unless all of these packages are installed."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise MachineError(
            f"{what} needs {', '.join(packages)}; not installed: {', '.join(missing)}",
            where=missing[0],
            fix="pip install 'kdcli[onnx]'",
        )
