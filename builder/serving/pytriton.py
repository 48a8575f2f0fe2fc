"""Where nvidia-pytriton keeps its server, and the surroundings in which its Python backend works."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import sys
import sysconfig
from pathlib import Path

from builder import house, modules

_INSTALL = 'pip install "builder[serve]"'
PYTHON_BASED = ("onnxruntime",)
"""The backends that pytriton's server lacks and ours stand for, each a folder of `backends/`."""

_STUB = "triton_python_backend_stub"


def problem() -> tuple[str, str] | None:
    """Return (what is missing, the command that adds it), or None when the server can run."""
    if importlib.util.find_spec("pytriton") is None:
        return "nvidia-pytriton is not installed in this interpreter", _INSTALL
    triton = triton_folder()
    if not (triton / "bin" / "tritonserver").is_file():
        return f"{triton} holds no tritonserver", f"{_INSTALL} --force-reinstall"
    version = _python_version()
    stubs = triton / "python_backend_stubs"
    if not (stubs / version / _STUB).is_file():
        offered = ", ".join(sorted(stub.name for stub in stubs.iterdir()))
        return f"it has no Python backend stub for Python {version}", f"use one of Python {offered}"
    numpy = importlib.metadata.version("numpy")
    if int(numpy.split(".")[0]) >= 2:
        found = f"numpy {numpy} is installed, and its Python backend corrupts tensors with numpy 2"
        return found, 'pip install "numpy<2"'
    if not _libraries(f"libpython{version}.so.1.0"):
        return f"libpython{version}.so.1.0 is not on this machine", f"apt-get install libpython{version}"
    return None


def triton_folder() -> Path:
    """Return pytriton's server folder without importing pytriton, which is slow and starts threads."""
    specification = importlib.util.find_spec("pytriton")
    assert specification is not None and specification.origin is not None
    return Path(specification.origin).parent / "tritonserver"


def _python_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _libraries(name: str) -> list[str]:
    """Return the folders that hold a shared library: this interpreter's own before the system's."""
    candidates = [
        sysconfig.get_config_var("LIBDIR"),
        str(Path(sys.base_prefix) / "lib"),
        *(str(folder) for folder in Path("/usr/lib").glob("*-linux-gnu")),
        "/usr/lib64",
        "/usr/lib",
        "/usr/local/lib",
    ]
    return list(dict.fromkeys(folder for folder in candidates if folder and (Path(folder) / name).exists()))


def link_backends(folder: Path) -> Path:
    """Lay out a backend directory: pytriton's Python backend with this interpreter's stub beside it."""
    triton = triton_folder()
    backends = folder / "triton_backends"
    python = backends / "python"
    python.mkdir(parents=True)
    for part in (triton / "backends" / "python").iterdir():
        # for a Python-based backend Triton follows links and refuses a library that lies elsewhere
        if part.suffix == ".so":
            shutil.copyfile(part, python / part.name)
        else:
            (python / part.name).symlink_to(part)
    (python / _STUB).symlink_to(triton / "python_backend_stubs" / _python_version() / _STUB)
    for name in PYTHON_BASED:
        _copy_python_based(name, backends / name)
    return backends


def _copy_python_based(name: str, folder: Path) -> None:
    """Lay out one of our backends: its model.py, with what it imports beside it."""
    ours = house.folder("backends")
    main = ours / name / "model.py"
    folder.mkdir()
    shutil.copyfile(main, folder / "model.py")
    for file in modules.reached(ours, [main]):
        if file != main:
            copy = folder / modules.PACKAGE / file.relative_to(ours)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def environment_of_stub(temporary: Path) -> dict[str, str]:
    """Return the environment in which the stub becomes this interpreter.

    The stub finds its packages through the first `python3` on PATH. It runs isolated: it ignores
    every PYTHON* variable, so it does write __pycache__ beside a model.py. What models write to
    TMPDIR goes to `temporary`.
    """
    environment = dict(os.environ)
    interpreter = Path(sys.executable).parent
    environment["PATH"] = f"{interpreter}:{environment.get('PATH', '/usr/bin:/bin')}"
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    libraries = [
        str(triton_folder().parents[1] / "nvidia_pytriton.libs"),
        *_libraries(f"libpython{_python_version()}.so.1.0")[:1],
        environment.get("LD_LIBRARY_PATH", ""),
    ]
    # The backend asks for a colon in it as soon as a model brings an execution environment.
    environment["LD_LIBRARY_PATH"] = ":".join(libraries)
    environment["TMPDIR"] = str(temporary)
    return environment
