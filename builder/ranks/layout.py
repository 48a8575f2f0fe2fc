"""Where every number of the source goes: decided from headers alone, before a byte is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from builder import safetensors_file
from builder.architecture import Dimensions, MixtureDimensions
from builder.ranks.division import Division, Seat
from builder.ranks.rules import EMBEDDING, FIRST, LAST, PARALLEL_EMBEDDING, Rule
from builder.ranks.shares import Region, Size
from builder.safetensors_file import Header
from builder.source import TensorInfo


@dataclass(frozen=True)
class Piece:
    """A region of a source tensor, and the row of a rank's tensor at which it begins."""

    source: str
    region: Region
    row: int


@dataclass(frozen=True)
class RankTensor:
    """One tensor of a rank: `pieces` lie one below the other, as wide as it is."""

    info: TensorInfo
    pieces: tuple[Piece, ...]


@dataclass(frozen=True)
class RankFile:
    """One rank's file."""

    name: str
    tensors: tuple[RankTensor, ...]

    @property
    def header(self) -> Header:
        return safetensors_file.described(tensor.info for tensor in self.tensors)

    @property
    def nbytes(self) -> int:
        header = self.header
        return 8 + len(header.raw) + sum(one.nbytes for one in header.tensors.values())


@dataclass(frozen=True)
class Layout:
    """All ranks of a model.

    `names` are role -> the source's tensor, `held` the source's tensors by name; `dtype` is safetensors'.
    """

    rules: tuple[Rule, ...]
    names: Mapping[str, str]
    held: Mapping[str, TensorInfo]
    dimensions: Dimensions
    division: Division
    dtype: str
    parallel_embedding: bool = False

    def files(self) -> list[RankFile]:
        """Return what each rank's file holds; wider types first, so that each tensor is aligned."""
        files = []
        for seat in self.division.seats():
            tensors = sorted(self._tensors(seat), key=lambda one: -safetensors_file.BITS[one.info.dtype])
            files.append(RankFile(f"rank{seat.rank}.safetensors", tuple(tensors)))
        return files

    def _tensors(self, seat: Seat) -> Iterator[RankTensor]:
        embedding = PARALLEL_EMBEDDING if self.parallel_embedding else EMBEDDING
        for local, layer in enumerate(seat.layers(self.dimensions)):
            for rule in self.rules:
                if not rule.stage:
                    yield from self._made(rule, seat, local, layer)
        for rule in (embedding, *self.rules):
            if (rule.stage == FIRST and seat.stage == 0) or (rule.stage == LAST and seat.is_last):
                yield from self._made(rule, seat, 0, 0)

    def _made(self, rule: Rule, seat: Seat, local: int, layer: int) -> Iterator[RankTensor]:
        """Yield the tensor of a rule, or nothing where the model has none such."""
        experts = self._experts(rule, seat)
        sources = [self._source(rule, role, layer, expert) for expert in experts for role in rule.roles]
        if None in sources:
            return
        pieces, row = [], 0
        for source in sources:
            region = rule.share(_size(self.held[str(source)]), seat, self.dimensions)
            pieces.append(Piece(str(source), region, row))
            row += region.height
        vector = len(self.held[pieces[0].source].shape) == 1
        shape: tuple[int, ...] = (row,) if vector else (row, len(pieces[0].region.columns))
        if rule.experts:
            shape = (len(experts), row // len(experts), shape[1])
        dtype = rule.dtype or self.dtype
        info = TensorInfo(rule.name.format(layer=local), shape, dtype, safetensors_file.nbytes(shape, dtype))
        yield RankTensor(info, tuple(pieces))

    def _experts(self, rule: Rule, seat: Seat) -> range:
        if not rule.experts or not isinstance(self.dimensions, MixtureDimensions):
            return range(1)
        each = self.dimensions.experts // self.division.experts
        return range(seat.expert_group * each, (seat.expert_group + 1) * each)

    def _source(self, rule: Rule, role: str, layer: int, expert: int) -> str | None:
        for one in (role, rule.instead):
            name = self.names.get(one, "").format(layer=layer, expert=expert)
            if name in self.held:
                return name
        return None


def _size(tensor: TensorInfo) -> Size:
    return (tensor.shape[0], tensor.shape[1] if len(tensor.shape) > 1 else 1)
