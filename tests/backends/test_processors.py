"""How many cores an engine may use, as /sys tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backends.engine.processors import usable_cores


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight processors, two to a core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    for processor in range(8):
        core = processor % 4
        write(
            tmp_path,
            f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list",
            f"{core},{core + 4}",
        )
    return tmp_path


def write(root: Path, file: str, text: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="ascii")


def test_two_processors_of_one_core_count_once(system: Path) -> None:
    assert usable_cores(system) == 4


def test_affinity_leaves_some(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 4, 5})
    assert usable_cores(system) == 2


def test_without_topology_each_processor_is_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2})
    assert usable_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("quota", "cores"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 4)]
)
def test_a_container_has_its_quota(system: Path, quota: str, cores: int) -> None:
    write(system, "sys/fs/cgroup/cpu.max", quota)
    assert usable_cores(system) == cores


@pytest.mark.parametrize(("quota", "cores"), [("300000", 3), ("-1", 4)])
def test_the_first_version_of_cgroups_has_two_files(system: Path, quota: str, cores: int) -> None:
    write(system, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota)
    write(system, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")
    assert usable_cores(system) == cores


def test_here_it_is_at_least_one() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
