"""Rows that run: our deployment behind two doors, and every peer in a process and environment of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from workbench import environment
from workbench.children import BENCHMARKS, PeerFailed
from workbench.deployment import Deployment

from builder.server import Options
from builder.serving import ports
from encoder import contest, doors, figures, load, ours
from encoder.children import Library, Server, peak_megabytes
from encoder.contest import WARM_UP, Entrant, Row, Sample, Settings, sample_of
from encoder.doors import Door, Vector
from encoder.lineup import PEERS
from encoder.stage import Stage

REFERENCE = "sentence_transformers"


@dataclass(frozen=True)
class Called:
    """A library in a process of its own."""

    library: Library

    def sample(self, texts: Sequence[str], concurrency: int) -> Sample:
        alone = concurrency == 1
        self.library.embed(texts[:WARM_UP], alone=alone)
        run = self.library.embed(texts, alone=alone)
        return sample_of(run) if alone else Sample(run.rate, None, None)

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        return self.library.vectors(texts)

    def peak_mb(self) -> float:
        return peak_megabytes(self.library.pid)


@dataclass(frozen=True)
class Served:
    """A server behind its door; `batches` where it counts them, `restless` what rests until it is asked."""

    door: Door
    pid: int
    batches: ours.Batches | None = None
    restless: Server | None = None

    def sample(self, texts: Sequence[str], concurrency: int) -> Sample:
        with self._turn():
            if self.batches is None:
                return sample_of(load.closed(self.door, texts, concurrency, WARM_UP))
            self.batches.mean()
            run = load.closed(self.door, texts, concurrency, WARM_UP)
            return sample_of(run, self.batches.mean())

    def vectors(self, texts: Sequence[str]) -> list[Vector]:
        with self._turn():
            return load.vectors(self.door, texts)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self.restless is None:
            yield
            return
        self.restless.wake()
        try:
            yield
        finally:
            self.restless.rest()

    def peak_mb(self) -> float:
        return peak_megabytes(self.pid)


def python_of(name: str) -> Path:
    """Return the interpreter of a row's own environment, made when it is not there, or this one."""
    if not PEERS[name].own_environment:
        return Path(sys.executable)
    file = file_of(name)
    requirements = BENCHMARKS / f"requirements-encoder-{file}.txt"
    return environment.ensure(BENCHMARKS / f".venv-encoder-{file}", requirements)


def file_of(name: str) -> str:
    """Return the file of peers/ that a row runs."""
    return PEERS[name].peer or name


def wanted(files: Settings, logs: Path, examples: Sequence[str]) -> list[Vector]:
    """Return the vectors of sentence-transformers, which all others are held against."""
    told = files | PEERS[REFERENCE].candidates[-1]
    with Library(python_of(REFERENCE), REFERENCE, told, logs / "wanted.log") as library:
        return library.vectors(examples)


def served(deployment: Deployment, stage: Stage) -> list[Row]:
    """Return our two rows, one deployment asked by gRPC and by HTTP."""
    batches = ours.Batches(deployment.metrics, ours.ENCODER)
    ways: Mapping[str, Door] = {
        figures.OURS: doors.TritonGrpc(deployment.grpc, ours.NAME),
        figures.OVER_HTTP: doors.TritonHttp(deployment.http, ours.NAME),
    }

    def row(name: str, door: Door) -> Row:
        entrant = Served(door, deployment.pid, batches)
        return Row(name, "served", ({},), _starter(name, stage, lambda settings, stack: entrant))

    return [row(name, door) for name, door in ways.items()]


def peer(name: str, stage: Stage, *, quick: bool) -> Row:
    """Return the row of a peer, none of whose processes runs yet; if `quick`, with its usual settings."""
    lineup, file, python = PEERS[name], file_of(name), python_of(name)

    def start(settings: Settings, stack: ExitStack) -> Called | Served:
        log = stage.logs / f"{name}-{time.monotonic_ns()}.log"
        told = stage.files | settings
        if lineup.door is None:
            return Called(stack.enter_context(Library(python, file, told, log)))
        http, port, metrics = ports.choose(Options())
        told |= {"http_port": http, "metrics_port": metrics}
        server = stack.enter_context(Server(python, file, told, log, lineup.door(port), port))
        server.wait()
        counted = ours.Batches(f"127.0.0.1:{metrics}", ours.NAME) if lineup.counts else None
        return Served(server.door, server.pid, counted, server if lineup.restless else None)

    candidates = (lineup.quick or lineup.candidates[-1:]) if quick else lineup.candidates
    always = lineup.kind == "raw" or name == figures.FASTAPI
    return Row(name, lineup.kind, candidates, _starter(name, stage, start), seldom=not always)


def joins(row: Row, tries: Mapping[int, Sequence[str]], stack: ExitStack) -> bool:
    """Find a row's best settings and start it with them until the stack ends.

    A peer that cannot run, or whose vectors are others, is left out, aloud: its figures are then missing,
    which is a missed bar.
    """
    try:
        contest.sweep(row, tries)
        running: list[tuple[Settings, Entrant]] = []
        for level, best in row.best.items():
            found = [entrant for settings, entrant in running if settings == best]
            row.entrants[level] = found[0] if found else stack.enter_context(row.start(best))
            running.append((best, row.entrants[level]))
    except PeerFailed as failure:
        print(f"LEFT OUT {row.name}: {failure}", file=sys.stderr, flush=True)
        return False
    return True


def _starter(
    name: str, stage: Stage, start: Callable[[Settings, ExitStack], Called | Served]
) -> contest.Start:
    """Return what starts an entrant and has it prove its vectors before it may play."""

    @contextmanager
    def started(settings: Settings) -> Iterator[Entrant]:
        with ExitStack() as stack:
            entrant = start(settings, stack)
            stage.require_alike(name, entrant.vectors(stage.examples))
            yield entrant

    return started
