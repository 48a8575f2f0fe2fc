"""Wheels for a machine without a network, in parts that small transfers can carry.

    python benchmarks/offline.py pack FOLDER [--requirements FILE] [--limit 54]
    python3 benchmarks/offline.py unpack FOLDER VENV

`pack` downloads the wheels of a requirements file, no others, for CPython 3.12 on x86-64 Linux, and writes
FOLDER/part-00, part-01, ... of at most --limit MB. On the other machine `unpack` takes a folder with all
parts, or their files, and installs the wheels into the virtual environment VENV. That is made where it is not
there yet, and finds what it lacks in the environment of the Python that runs this: a torch for CUDA, say.
Needs nothing but Python and its pip; what was interrupted is run again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements-llm_gpu.txt")
LABEL = "wheels.json"
PIECE = "wheels.tar."
NEWEST_GLIBC, OLDEST_GLIBC = 39, 5
_READ = 1 << 20


def main() -> int:
    arguments = _arguments()
    if arguments.what == "pack":
        with tempfile.TemporaryDirectory() as folder:
            wheels = download(arguments.requirements, Path(folder) / "wheels")
            parts = cut(wheels, arguments.folder, arguments.limit << 20)
        print(f"{len(wheels)} wheels in {len(parts)} parts: {parts[0]} to {parts[-1].name}")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        install(join(arguments.folder, Path(folder)), arguments.venv)
    print(f"installed: {arguments.venv}/bin/python")
    return 0


def download(requirements: Path, folder: Path) -> list[Path]:
    """Return the wheels of a requirements file; raise SystemExit where pip finds one not."""
    glibc = range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)
    platforms = [
        *(f"manylinux_2_{minor}_x86_64" for minor in glibc),
        "manylinux2014_x86_64",
        "manylinux1_x86_64",
    ]
    built_for = ["--python-version", "3.12", "--implementation", "cp", "--only-binary", ":all:"]
    built_for += [word for abi in ("cp312", "abi3", "none") for word in ("--abi", abi)]
    built_for += [word for platform in platforms for word in ("--platform", platform)]
    _run("-m", "pip", "download", "--quiet", "--no-deps", *built_for, "-r", requirements, "-d", folder)
    return sorted(folder.glob("*.whl"))


def cut(wheels: Iterable[Path], folder: Path, limit: int) -> list[Path]:
    """Write the wheels as one archive in pieces of at most `limit` bytes, a folder each; return those."""
    if folder.exists():
        raise SystemExit(f"{folder} is there already: name a new folder, or remove it")
    folder.mkdir(parents=True)
    archive = folder / "wheels.tar"
    with tarfile.open(archive, "w") as written:
        for wheel in wheels:
            written.add(wheel, wheel.name)
    parts, digest = [], hashlib.sha256()
    with archive.open("rb") as whole:
        while piece := whole.read(limit):
            part = folder / f"part-{len(parts):02d}"
            part.mkdir()
            (part / f"{PIECE}{len(parts):02d}").write_bytes(piece)
            digest.update(piece)
            parts.append(part)
    archive.unlink()
    label = json.dumps({"pieces": len(parts), "sha256": digest.hexdigest()}) + "\n"
    for part in parts:
        (part / LABEL).write_text(label, encoding="utf-8")
    return parts


def join(folder: Path, into: Path) -> list[Path]:
    """Return the wheels of all pieces in a folder or its parts; raise SystemExit where some are missing."""
    label = next(iter([*folder.glob(LABEL), *folder.glob(f"*/{LABEL}")]), None)
    if label is None:
        raise SystemExit(f"{folder} holds no {LABEL}: expected a folder that `pack` wrote, or its parts")
    told = json.loads(label.read_text(encoding="utf-8"))
    found = {piece.name: piece for piece in (*folder.glob(f"{PIECE}*"), *folder.glob(f"*/{PIECE}*"))}
    wanted = [f"{PIECE}{number:02d}" for number in range(told["pieces"])]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise SystemExit(f"{folder} lacks {', '.join(missing)} of {len(wanted)} pieces: copy those parts too")
    archive, digest = into / "wheels.tar", hashlib.sha256()
    with archive.open("wb") as whole:
        for name in wanted:
            with found[name].open("rb") as piece:
                while read := piece.read(_READ):
                    whole.write(read)
                    digest.update(read)
    if digest.hexdigest() != told["sha256"]:
        raise SystemExit(
            f"the pieces in {folder} are damaged, or of different runs of `pack`: copy them again"
        )
    with tarfile.open(archive) as packed:
        packed.extractall(into, filter="data")
    archive.unlink()
    return sorted(into.glob("*.whl"))


def install(wheels: Sequence[Path], venv: Path) -> None:
    """Install wheels, and nothing that they ask for, before what this Python's own environment has."""
    site = site_of(venv)
    if not site.is_dir():
        _run("-m", "venv", "--without-pip", venv)
        (site / "machine.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    # a second run replaces what the first has put there
    plain = ["--quiet", "--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade"]
    _run("-m", "pip", "install", *plain, "--target", site, *wheels)


def site_of(venv: Path) -> Path:
    """Return where packages of a virtual environment of this Python lie."""
    return venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _run(*words: str | Path) -> None:
    done = subprocess.run([sys.executable, *map(str, words)])
    if done.returncode:
        raise SystemExit(f"python {' '.join(map(str, words[:4]))} ... ended with code {done.returncode}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    ways = parser.add_subparsers(dest="what", required=True)
    pack = ways.add_parser("pack", help="download and cut")
    pack.add_argument("folder", type=Path)
    pack.add_argument("--requirements", type=Path, default=REQUIREMENTS, help=f"default: {REQUIREMENTS.name}")
    pack.add_argument("--limit", type=int, default=54, help="MB of a part, default 54")
    unpack = ways.add_parser("unpack", help="join and install")
    unpack.add_argument("folder", type=Path)
    unpack.add_argument("venv", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
