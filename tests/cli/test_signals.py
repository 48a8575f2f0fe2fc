"""Signals end a command in order, and are heard wherever it waits."""

import signal
import subprocess
import sys
import threading

from builder.signals import as_exit

WAITS = """
import select, signal, sys, threading, time
from builder.signals import as_exit

# where tests run under nohup a hang-up would be ignored here, too
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def send():
    time.sleep(0.3)
    # to this thread: the main one, which waits, is not woken, as when a signal comes just before it waits
    signal.pthread_kill(threading.get_ident(), signal.{name})

with as_exit() as received:
    threading.Thread(target=send).start()
    try:
        select.select([], [], [], 60)
        print("never heard")
    finally:
        print("cleaned up after", *(one.name for one in received))
"""


def run(name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WAITS.format(name=name)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def test_a_signal_that_woke_nobody_is_heard_all_the_same() -> None:
    for name, code in (("SIGTERM", 143), ("SIGHUP", 129)):
        done = run(name)
        assert (done.returncode, done.stdout) == (code, f"cleaned up after {name}\n"), done.stderr


def test_another_thread_changes_nothing() -> None:
    seen: list[object] = []

    def enter() -> None:
        with as_exit() as received:
            seen.append(received)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [[]]


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    for _ in range(50):
        with as_exit():
            pass
    for thread in threading.enumerate():
        if thread.name.endswith("(insist)"):
            thread.join(10)
    assert threading.active_count() == before


HELD = """
import os, signal
from builder.signals import as_exit, held

with as_exit():
    with held():
        os.kill(os.getpid(), signal.{name})
        print("started")
    print("never said")
"""


def test_a_signal_waits_until_what_was_started_is_known() -> None:
    for name, code in (("SIGTERM", 143), ("SIGINT", -signal.SIGINT)):
        command = [sys.executable, "-c", HELD.format(name=name)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
        assert (done.returncode, done.stdout) == (code, "started\n")
