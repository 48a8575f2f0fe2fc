"""What Triton serves now: its index and its models' configs, read again and again."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Sequence
from typing import Any

from builder.gateway.triton import failures, served
from builder.gateway.triton.connection import Connection
from builder.gateway.triton.failures import Failure, Kind
from builder.gateway.triton.served import Served

SECONDS = 1.0
"""Between two looks."""
SOONEST_SECONDS = 0.2
"""At least between two looks, however many ask for models that are not there."""
PATIENCE = 5.0
"""Seconds after which a look is given up."""


class Catalogue:
    """The models that are ready. Keeps none while Triton cannot be reached: it may come back with others."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stub = connection.stub
        self._models: dict[str, Served] = {}
        self._versions: dict[str, frozenset[str]] = {}
        self._created: dict[str, int] = {}
        self._turns = itertools.count()
        self._looking = asyncio.Lock()
        self._begun = 0
        self._last = 0.0
        self.reachable = False

    async def watch(self) -> None:
        """Look every second, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(SECONDS)

    async def look(self) -> None:
        """Look now, once for all who ask at a time; a look that had begun before may miss what has come."""
        begun = self._begun
        async with self._looking:
            if self._begun > begun:
                return
            await asyncio.sleep(max(0.0, self._last + SOONEST_SECONDS - time.monotonic()))
            self._begun += 1
            await self._look()
            self._last = time.monotonic()

    def models(self) -> Sequence[Served]:
        """Return the models that some endpoint answers for, by name."""
        return sorted((one for one in self._models.values() if one.kind), key=lambda one: one.name)

    def loaded(self, name: str) -> Served | None:
        """Return a model that was ready at the last look."""
        return self._models.get(name)

    async def find(self, name: str, *, is_hidden: bool = False) -> Served:
        """Return a model that is ready; one that is hidden is as one that is not, also in how long it takes.

        Raises Failure: UNKNOWN_MODEL, or UNAVAILABLE when Triton cannot be reached.
        """
        if is_hidden or name not in self._models:
            await self.look()
        if not is_hidden and name in self._models:
            return self._models[name]
        if not self.reachable:
            raise Failure(Kind.UNAVAILABLE, failures.LOST)
        raise Failure(Kind.UNKNOWN_MODEL, f"The model '{name}' does not exist")

    def forget(self) -> None:
        """Take Triton for gone, as whoever lost an answer has reason to: the next request looks again."""
        self.reachable = False
        self._models.clear()
        self._versions.clear()

    async def _look(self) -> None:
        import grpc

        try:
            if await self._connection.connect():
                await self._read()
                self.reachable = True
                return
        except grpc.aio.AioRpcError:
            pass  # it went away meanwhile
        self.forget()

    async def _read(self) -> None:
        from tritonclient.grpc import service_pb2

        index = await self._stub.RepositoryIndex(
            service_pb2.RepositoryIndexRequest(ready=True), timeout=PATIENCE
        )
        versions: dict[str, frozenset[str]] = {}
        for model in index.models:
            if model.state == "READY":
                versions[model.name] = versions.get(model.name, frozenset()) | {model.version}
        for name in [name for name in self._models if name not in versions]:
            del self._models[name]
        stale = [name for name, found in versions.items() if self._versions.get(name) != found]
        # a model that was loaded again may have another config and the same version: one is read in turn
        if versions and not stale:
            stale = [sorted(versions)[next(self._turns) % len(versions)]]
        for name in stale:
            await self._read_model(name)
        self._versions = {name: found for name, found in versions.items() if name in self._models}

    async def _read_model(self, name: str) -> None:
        import grpc
        from tritonclient.grpc import service_pb2

        try:
            told = await self._stub.ModelConfig(service_pb2.ModelConfigRequest(name=name), timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            failure = failures.of_call(error)
            if failure.is_triton_gone or failure.kind is Kind.DEADLINE:
                raise
            self._models.pop(name, None)  # unloaded since the index was read
            return
        found = self._served(told.config)
        if self._models.get(name) != found:
            self._models[name] = found

    def _served(self, config: Any) -> Served:
        created = self._created.setdefault(config.name, int(time.time()))
        return served.read(config, created)
