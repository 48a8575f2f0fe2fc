"""Repositories that are nearly right: the rules' own examples, and changes of them that may break anything.

All is drawn from one seeded random generator, so a case is its number.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import model_config_pb2

from builder.check import rules
from builder.rule import CONFIG
from workbench import examples

BEYOND = frozenset(
    {
        *("TRN233", "TRN308", "TRN309", "TRN404", "TRN611", "TRN651", "TRN652"),
        *(f"TRN{number}" for number in range(661, 677)),
        *("TRN641", "TRN642", "TRN643", "TRN644", "TRN645", "TRN646", "TRN648", "TRN706"),
    }
)
"""The rules of which a server without GPUs and other backends can prove nothing."""

NUMBERS = (-2, -1, 0, 1, 2, 3, 4, 8, 9, 16)
NAMES = ("X", "Y", "Z", "m", "first", "second", "START", "", "other")
_UNTOUCHED = frozenset(
    # what a machine without a GPU, and a server without that backend, can say nothing about
    (
        "optimization",
        "model_repository_agents",
        "cc_model_filenames",
        "metric_tags",
        "model_operations",
        "runtime",
        "backend",
        "platform",
        "default_model_filename",
        "host_policy",
        "secondary_devices",
        "model_metrics",
        "max_inflight_requests",
        "model_namespace",
        "passive",
    )
)
_SEQUENCES = """
max_batch_size: 4
sequence_batching {
  max_sequence_idle_microseconds: 1000000
  direct { minimum_slot_utilization: 0.5 }
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } }
  state {
    input_name: "I" output_name: "O" data_type: TYPE_FP32 dims: [ 2 ]
    initial_state { name: "zeros" data_type: TYPE_FP32 dims: [ 2 ] zero_data: true }
  }
}
"""
_EVERYTHING = """
max_batch_size: 8
version_policy { latest { num_versions: 1 } }
input { name: "X" data_type: TYPE_FP32 dims: [ 2, 2 ] reshape { shape: [ 4 ] } allow_ragged_batch: true }
input { name: "Z" data_type: TYPE_STRING dims: [ 1 ] optional: true }
output { name: "Y" data_type: TYPE_FP32 dims: [ -1, 4 ] label_filename: "labels.txt" }
batch_input { kind: BATCH_ACCUMULATED_ELEMENT_COUNT target_name: "N" data_type: TYPE_INT32 source_input: "X" }
batch_output { kind: BATCH_SCATTER_WITH_INPUT_SHAPE target_name: "Y" source_input: "X" }
instance_group { kind: KIND_CPU count: 2 }
dynamic_batching {
  preferred_batch_size: [ 4, 8 ]
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 1000 max_queue_size: 16 }
  priority_queue_policy { key: 1 value { timeout_action: REJECT max_queue_size: 4 } }
}
parameters { key: "a" value { string_value: "b" } }
== m/labels.txt
cat
dog
"""
_CHAIN = """
# check: ignore TRN732: its clients ask for both
platform: "ensemble"
max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [ -1 ] }
output { name: "Y" data_type: TYPE_FP32 dims: [ 4 ] }
output { name: "first_Y" data_type: TYPE_FP32 dims: [ 4 ] }
ensemble_scheduling {
  step {
    model_name: "first" model_version: -1
    input_map { key: "X" value: "X" }
    output_map { key: "Y" value: "first_Y" }
  }
  step {
    model_name: "second" model_version: 1
    input_map { key: "X" value: "first_Y" }
    output_map { key: "Y" value: "Y" }
  }
}
"""
SEEDS = (_SEQUENCES, _EVERYTHING, _CHAIN)


@dataclass(frozen=True)
class Case:
    """One repository: where it came from and what was changed."""

    number: int
    origin: str
    changes: tuple[str, ...]


def write(number: int, folder: Path) -> Case:
    """Write the repository of a number into a folder."""
    rng = random.Random(number)
    origin, example = _origin(number)
    examples.write(example, folder)
    changes = []
    for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
        change = rng.choices((_change_config, _change_text, _change_folders), (20, 2, 2))[0]
        changes.append(change(folder, rng))
    return Case(number, origin, tuple(changes))


def _origin(number: int) -> tuple[str, str]:
    """Return what a case begins with: of as many cases as there are origins each begins with another."""
    origins = _origins()
    round_, place = divmod(number, len(origins))
    random.Random(round_).shuffle(origins)
    return origins[place]


def _origins() -> list[tuple[str, str]]:
    """Return (name, example) of all that a case may begin with."""
    found = [(f"seed {place}", seed) for place, seed in enumerate(SEEDS)] * 10
    for one in rules():
        if one.bad and one.severity != "fatal" and one.code not in BEYOND:
            # a change may mend the fault: those that Triton refuses come twice, so that each is seen enough
            times = 2 if one.severity == "error" else 1
            found += [(f"{one.code} bad", one.bad)] * times + [(f"{one.code} good", one.good)]
    return found


def _change_config(folder: Path, rng: random.Random) -> str:
    file = rng.choice(sorted(folder.glob(f"*/{CONFIG}")))
    config = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(file.read_text(encoding="utf-8"), config)
    except text_format.ParseError:
        return "none: it cannot be read"
    places = list(_places(config, file.parent.name))
    path, change = rng.choice(places)
    done = change(rng)
    file.write_text(text_format.MessageToString(config), encoding="utf-8")
    return f"{path}: {done}"


def _change_text(folder: Path, rng: random.Random) -> str:
    file = rng.choice(sorted(folder.glob(f"*/{CONFIG}")))
    lines = file.read_text(encoding="utf-8").split("\n")
    place = rng.randrange(len(lines))
    kind = rng.choice(("lose a line", "repeat a line", "misspell a word"))
    if kind == "lose a line":
        del lines[place]
    elif kind == "repeat a line":
        lines.insert(place, lines[place])
    else:
        lines[place] = lines[place].replace("_", "__", 1)
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"{file.parent.name}: {kind} {place + 1}"


def _change_folders(folder: Path, rng: random.Random) -> str:
    model = rng.choice(sorted(entry for entry in folder.iterdir() if entry.is_dir()))
    versions = sorted(entry for entry in model.iterdir() if entry.is_dir() and entry.name.isdigit())
    kind = rng.choice(("rename the version", "rename the model", "add a folder"))
    if kind == "rename the version" and versions:
        name = rng.choice(("2", "7", "v1", "01"))
        if not (model / name).exists():
            versions[0].rename(model / name)
            return f"{model.name}: version {versions[0].name} becomes {name}"
    if kind == "rename the model" and not (folder / "renamed").exists():
        model.rename(folder / "renamed")
        return f"{model.name} becomes renamed"
    (model / "notes").mkdir(exist_ok=True)
    return f"{model.name}: a folder notes"


Change = Callable[[random.Random], str]


def _places(message: Any, path: str) -> Iterator[tuple[str, Change]]:
    """Yield (path, change) for every field that can be changed, those of set messages too."""
    for field in message.DESCRIPTOR.fields:
        if field.name in _UNTOUCHED:
            continue
        here = f"{path}.{field.name}"
        if _is_map(field):
            yield from _map_places(message, field, here)
        elif field.message_type is not None:
            yield from _message_places(message, field, here)
        else:
            yield here, lambda rng, m=message, f=field: _change_scalar(m, f, rng)  # type: ignore[misc]


def _message_places(message: Any, field: FieldDescriptor, here: str) -> Iterator[tuple[str, Change]]:
    if field.is_repeated:
        held = getattr(message, field.name)
        if held:
            yield here, lambda rng: _drop(held, rng)
            yield here, lambda rng: _repeat(held, rng)
        for place, one in enumerate(held):
            yield from _places(one, f"{here}[{place}]")
    elif message.HasField(field.name):
        yield here, lambda rng: _clear(message, field.name)
        yield from _places(getattr(message, field.name), here)
    else:
        yield here, lambda rng: _set(message, field.name)


def _map_places(message: Any, field: FieldDescriptor, here: str) -> Iterator[tuple[str, Change]]:
    held = getattr(message, field.name)
    kind = field.message_type.fields_by_name["value"]
    for key in sorted(held):
        yield f"{here}[{key}]", lambda rng, key=key: _drop_key(held, key)  # type: ignore[misc]
        if kind.message_type is not None:
            yield from _places(held[key], f"{here}[{key}]")
    if kind.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        yield here, lambda rng: _change_map(held, rng)


def _drop_key(held: Any, key: Any) -> str:
    del held[key]
    return "is left out"


def _change_map(held: Any, rng: random.Random) -> str:
    key = rng.choice([*sorted(held), *NAMES])
    held[key] = rng.choice((*NAMES, "first_Y"))
    return f"[{key}] is {held[key]!r}"


def _change_scalar(message: Any, field: FieldDescriptor, rng: random.Random) -> str:
    value = _value(field, rng)
    if not field.is_repeated:
        setattr(message, field.name, value)
        return f"is {value!r}"
    held = getattr(message, field.name)
    if held and rng.random() < 0.5:
        place = rng.randrange(len(held))
        if rng.random() < 0.3:
            del held[place]
            return f"loses {place}"
        held[place] = value
        return f"[{place}] is {value!r}"
    held.append(value)
    return f"gains {value!r}"


def _value(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.enum_type is not None:
        return rng.choice([value.number for value in field.enum_type.values])
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(NAMES)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.7
    if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice((-0.5, 0.0, 0.5, 1.0, 1.5))
    unsigned = field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
    # each instance is a process
    numbers = (-1, 0, 1, 2) if field.name == "count" else NUMBERS
    return rng.choice([number for number in numbers if number >= 0 or not unsigned])


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _drop(held: Any, rng: random.Random) -> str:
    place = rng.randrange(len(held))
    del held[place]
    return f"loses {place}"


def _repeat(held: Any, rng: random.Random) -> str:
    place = rng.randrange(len(held))
    held.add().CopyFrom(held[place])
    return f"has {place} twice"


def _clear(message: Any, name: str) -> str:
    message.ClearField(name)
    return "is left out"


def _set(message: Any, name: str) -> str:
    getattr(message, name).SetInParent()
    return "is set, with nothing in it"
