"""Programs are known to be at work until the last of them has ended, whoever started them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.kernel.device_look import run_within
from orlop.kernel.work_lock import handed_on, wait_for_work, work_on

_LATE = """
import os, sys
if os.fork():
    os._exit(0)
for fd in (0, 1, 2):
    os.close(fd)
with open(sys.argv[1], "w") as gate:
    gate.write("here")
"""


def test_work_is_waited_for_until_the_last_program_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "work/one"
    with work_on(lock):
        program = subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=handed_on())
    with pytest.raises(TimeoutError):
        wait_for_work(lock, 0)
    program.communicate()
    wait_for_work(lock, 0)


def test_what_a_program_left_behind_is_at_work_too(tmp_path: Path) -> None:
    lock, gate = tmp_path / "work/one", tmp_path / "gate"
    os.mkfifo(gate)  # who opens it waits for a reader
    with work_on(lock):
        assert run_within(30, (sys.executable, "-c", _LATE, str(gate))).returncode == 0
    with pytest.raises(TimeoutError):
        wait_for_work(lock, 0)
    assert gate.read_text() == "here"
    wait_for_work(lock, 30)


def test_nothing_is_handed_on_where_nobody_is_at_work(tmp_path: Path) -> None:
    with work_on(tmp_path / "one"):
        assert len(handed_on()) == 1
    assert handed_on() == ()
