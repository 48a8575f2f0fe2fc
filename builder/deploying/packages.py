"""The Python packages that a repository's own code imports, pinned.

`docker/requirements/MODULE.txt` names what brings an importable module, with everything that it
needs in turn; `MODULE.gpu.txt` beside it, where there is one, is taken for models on a GPU. A
further engine is a further file there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from builder import house, syntax
from builder.deploying import images
from builder.errors import RepositoryError, UsageError
from builder.layout import Layout

GIVEN = frozenset({"numpy", "triton_python_backend_utils", "c_python_backend_utils"})
"""What every Python model has in NVIDIA's container."""
_PIN = re.compile(r"[A-Za-z0-9][\w.\[\]-]*==[\w.!+-]+")
_NAMED = re.compile(rf"(?P<module>[A-Za-z_]\w*)=(?P<pin>{_PIN.pattern})")


def pinned(
    imported: Mapping[str, str],
    *,
    gpu: bool,
    extra: Sequence[str] = (),
    brought: Collection[str] = frozenset(),
) -> tuple[str, ...]:
    """Return the pins `name==version` that the served Python models need, sorted.

    Args:
        imported: module -> a file that imports it, see `imports`.
        gpu: whether the models run on a GPU.
        extra: `MODULE=NAME==VERSION` for modules that docker/requirements does not know.
        brought: modules that the image has already.

    Raises:
        RepositoryError: a model imports a module that nothing brings, or its code cannot be read.
        UsageError: `extra` is not of that form.
    """
    own = _read_extra(extra)
    pins: dict[str, str] = {}
    unknown = {}
    for module, file in sorted(imported.items()):
        if module in brought and module not in own:
            continue
        lines = [own[module]] if module in own else _read(module, gpu)
        if not lines:
            unknown[module] = file
        pins |= {normalised(line): line for line in lines}
    for module, file in unknown.items():
        if normalised(module) not in pins:
            raise RepositoryError(
                f"{file} imports {module}, and no package is known that brings it",
                expected=f"one of {', '.join(sorted({*known(), *images.known()}))}",
                remedy=f"name it: --package {module}=NAME==VERSION",
            )
    return tuple(sorted(pins.values()))


def known() -> list[str]:
    """Return the importable modules that docker/requirements knows how to bring."""
    return sorted({file.name.split(".")[0] for file in _folder().glob("*.txt")})


def imports(repository: Layout) -> dict[str, str]:
    """Return top-level module -> a file that imports it, for all that a bare container lacks."""
    found: dict[str, str] = {}
    for model in repository.models.values():
        for folder in model.folders:
            if model.backend != "python" or folder.number not in model.served or not folder.is_exact:
                continue
            local = {entry.stem for entry in folder.path.iterdir()}
            for file in sorted(folder.path.rglob("*.py")):
                for name in imported(file):
                    if name not in local:
                        found.setdefault(name, str(file.relative_to(repository.path)))
    return {name: file for name, file in found.items() if name not in GIVEN | sys.stdlib_module_names}


def imported(file: Path) -> Iterator[str]:
    """Yield the top-level module of every import in a file, functions included; it is not run."""
    try:
        tree = syntax.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        raise RepositoryError(f"{file} cannot be read as Python: {error}", remedy="builder check") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _read(module: str, gpu: bool) -> list[str]:
    names = [f"{module}.gpu.txt", f"{module}.txt"] if gpu else [f"{module}.txt"]
    file = next((_folder() / name for name in names if (_folder() / name).is_file()), None)
    if file is None:
        return []
    lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line]


def _read_extra(extra: Sequence[str]) -> dict[str, str]:
    found = {}
    for text in extra:
        read = _NAMED.fullmatch(text)
        if read is None:
            raise UsageError(
                f"--package {text!r} is not MODULE=NAME==VERSION",
                expected="an exact version, such as sklearn=scikit-learn==1.7.2",
            )
        found[read["module"]] = read["pin"]
    return found


def normalised(pin: str) -> str:
    """Return the name in `name==version` as packaging compares it."""
    return re.sub(r"[-_.]+", "-", pin.partition("==")[0].partition("[")[0]).lower()


def _folder() -> Path:
    return house.folder("docker") / "requirements"
