"""TRN62x: models of the Python backend. Triton: python_backend/src; the file is parsed, never imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from builder import reading, syntax
from builder.finding import Severity
from builder.layout import Model
from builder.planning import versions
from builder.rule import Fault, Host, closest, rule
from builder.textproto import Key, Place

_CLASS = "TritonPythonModel"
_HERE = "$$TRITON_MODEL_DIRECTORY"
# 3.12: aliases and generics of PEP 695, quotes within the braces of an f-string of PEP 701
_NEWER_SYNTAX = re.compile(r"""^\s*type\s+\w|\b(def|class)\s+\w+\s*\[|\b[fF][rR]?["']""")
_POINTER = b"version https://git-lfs"


@rule("TRN621", "fatal")
def model_file_missing(model: Model, config: Any) -> Iterator[Fault]:
    """Every served version of a Python model has its model.py: the boot waits for it for ever.

    Seen with Triton 24.10; no later release says that it does better.

    Bad:
        backend: "python"
        == m/1/other.py
    Good:
        backend: "python"
        == m/1/model.py
    """
    name = config.default_model_filename or "model.py"
    for version in model.served if model.backend == "python" else ():
        folder = model.path / str(version)
        # a folder that is not there at all is version_misread's to tell
        if folder.is_dir() and not (folder / name).is_file():
            yield Fault(
                (),
                f"{model.name}/{version} has no {name}: Triton's boot hangs on it for ever",
                f"put {name} there, or remove the folder {model.name}/{version}",
                file=f"{version}/{name}",
            )


@rule("TRN622")
def python_does_not_parse(model: Model, host: Host) -> Iterator[Fault]:
    """A model.py is Python, of the version that the server has.

    Triton: SyntaxError: expected ':' (model.py, line 2)
    Bad:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests) return []
    Good:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    for path in _files(model):
        try:
            _parsed(path)
        except SyntaxError as error:
            remedy, severity = _mending(path, error, host)
            yield Fault(
                (),
                f"{path.name} is not Python: line {error.lineno}: {error.msg}",
                remedy,
                file=str(path.relative_to(model.path)),
                place=Place(error.lineno or 1, error.offset or 1),
                severity=severity,
            )
        except ValueError as error:
            yield Fault(
                (),
                f"{path.name} is not Python: {error}",
                "write it as text",
                file=str(path.relative_to(model.path)),
            )


@rule("TRN623")
def python_class_missing(model: Model) -> Iterator[Fault]:
    """A model.py has a class TritonPythonModel.

    Triton: AttributeError: module '1.model' has no attribute 'TritonPythonModel'
    Bad:
        backend: "python"
        == m/1/model.py
        class Model:
            def execute(self, requests): return []
    Good:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    for path in _files(model):
        tree = _tree(path)
        if tree is not None and _CLASS not in _names(tree):
            yield Fault(
                (),
                f"{path.name} has no class {_CLASS}, which Triton makes an object of",
                _class_to_rename(tree),
                file=str(path.relative_to(model.path)),
                place=_place(next(_top_classes(tree), None)),
            )


@rule("TRN624", "fatal")
def python_without_execute(model: Model) -> Iterator[Fault]:
    """A TritonPythonModel has `execute`: Triton loads it without, and every request fails.

    Bad:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def exeucte(self, requests): return []
    Good:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            def execute(self, requests): return []
    """
    for path, own in _classes(model):
        if not own.bases and "execute" not in _methods(own):
            yield Fault(
                (),
                f"class {_CLASS} of {path.name} has no method execute: the model loads and answers nothing",
                _method_to_rename(own),
                file=str(path.relative_to(model.path)),
                place=_place(own),
            )


@rule("TRN625", "warning")
def async_execute_not_decoupled(model: Model, config: Any) -> Iterator[Fault]:
    """`async def execute` is for decoupled models only.

    Bad:
        backend: "python"
        == m/1/model.py
        class TritonPythonModel:
            async def execute(self, requests): return None
    Good:
        backend: "python"
        model_transaction_policy { decoupled: true }
        == m/1/model.py
        class TritonPythonModel:
            async def execute(self, requests): return None
    """
    if config.model_transaction_policy.decoupled:
        return
    for path, own in _classes(model):
        if isinstance(_methods(own).get("execute"), ast.AsyncFunctionDef):
            yield Fault(
                (),
                f"{path.name} has `async def execute`, which Triton supports for decoupled models only",
                "write model_transaction_policy { decoupled: true } and a response sender, or a plain `def`",
                file=str(path.relative_to(model.path)),
            )


@rule("TRN626")
def force_cpu_yes_or_no(model: Model, config: Any) -> Iterator[Fault]:
    """FORCE_CPU_ONLY_INPUT_TENSORS is exactly "yes" or "no".

    Triton: Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: true'
    Bad:
        backend: "python"
        parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "true" } }
    Good:
        backend: "python"
        parameters { key: "FORCE_CPU_ONLY_INPUT_TENSORS" value { string_value: "yes" } }
    """
    value = config.parameters.get("FORCE_CPU_ONLY_INPUT_TENSORS")
    if model.backend == "python" and value is not None and value.string_value not in ("yes", "no"):
        yield Fault(
            ("parameters", Key("FORCE_CPU_ONLY_INPUT_TENSORS")),
            f"Incorrect value for FORCE_CPU_ONLY_INPUT_TENSORS: {value.string_value}'",
            'write "yes" or "no"',
        )


@rule("TRN627")
def execution_environment_missing(model: Model, config: Any) -> Iterator[Fault]:
    """EXECUTION_ENV_PATH is an archive or folder that exists.

    Triton: Failed to get the canonical path for P.
    Bad:
        backend: "python"
        parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
    Good:
        backend: "python"
    """
    value = config.parameters.get("EXECUTION_ENV_PATH")
    if model.backend != "python" or value is None:
        return
    told = value.string_value
    path = Path(told.replace(_HERE, str(model.path)))
    field = ("parameters", Key("EXECUTION_ENV_PATH"))
    if _HERE in told and not told.startswith(_HERE):
        yield Fault(field, f"{_HERE} is not at the beginning of {told}", f"begin it with {_HERE}")
    # a path outside the model is one of the server's machine, which may be another
    elif told.startswith(_HERE) and not path.exists():
        yield Fault(
            field, f"Failed to get the canonical path for {told}.", "put the packed environment there"
        )
    elif not told.startswith((_HERE, "/")):
        yield Fault(
            field,
            f"Failed to get the canonical path for {told}.: Triton looks from the folder it was started in",
            f"write {_HERE}/{told}, or the whole path",
        )


def _mending(path: Path, error: SyntaxError, host: Host) -> tuple[str, Severity | None]:
    """Return (remedy, severity): what this Python does not read, a newer one of the server's may."""
    if reading.content(path).startswith(_POINTER):
        return "it is a pointer of git-LFS: fetch the file with `git lfs pull`", None
    theirs = versions.python_of(host.triton)
    if theirs > sys.version_info[:2] and _NEWER_SYNTAX.search(error.text or ""):
        written, here = ".".join(map(str, theirs)), f"{sys.version_info[0]}.{sys.version_info[1]}"
        return f"mend that line; if Python {written} of the server reads it, check by that: this is {here}", (
            "warning"
        )
    return "mend that line", None


def _class_to_rename(tree: ast.Module) -> str:
    only = [own.name for own in _top_classes(tree) if "execute" in _methods(own)]
    others = only or [own.name for own in _top_classes(tree)]
    return f"rename the class {others[0]} to {_CLASS}" if len(others) == 1 else f"name the class {_CLASS}"


def _method_to_rename(own: ast.ClassDef) -> str:
    near = closest("execute", _methods(own))
    return f"rename {near} to execute" if near else "write execute(self, requests)"


def _place(node: ast.ClassDef | None) -> Place | None:
    return None if node is None else Place(node.lineno, node.col_offset + 1)


def _files(model: Model) -> Iterator[Path]:
    """Yield the model.py of every served version of a Python model."""
    if model.config is None:
        return
    name = model.config.default_model_filename or "model.py"
    is_python = model.backend == "python" or not (model.backend or model.config.platform)
    for version in model.served if is_python else ():
        path = model.file(str(version), name)
        if path is not None:
            yield path


def _parsed(path: Path) -> ast.Module:
    """Raise SyntaxError or ValueError for what is not Python."""
    try:
        return syntax.parse(reading.content(path), path.name)
    except (RecursionError, MemoryError):
        raise ValueError("it nests deeper than Python reads") from None


def _tree(path: Path) -> ast.Module | None:
    try:
        return _parsed(path)
    except (SyntaxError, ValueError):
        return None


def _names(tree: ast.Module) -> set[str]:
    """Return what the module may define: its top-level names, and "TritonPythonModel" when it imports all."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {_CLASS if name.name == "*" else (name.asname or name.name) for name in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _classes(model: Model) -> Iterator[tuple[Path, ast.ClassDef]]:
    for path in _files(model):
        tree = _tree(path)
        for own in _top_classes(tree) if tree is not None else ():
            if own.name == _CLASS:
                yield path, own


def _top_classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def _methods(own: ast.ClassDef) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for node in own.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found |= {target.id: node for target in node.targets if isinstance(target, ast.Name)}
    return found
