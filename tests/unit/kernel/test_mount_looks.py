"""Looks at mounts through children: what does not answer keeps one of them, and nobody else."""

import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.kernel.mount_looks import MountLooks

# Answers 0, unless the path says to wait for a line of the pipe that it names.
_LOOKER = """
import sys
for line in sys.stdin:
    path = bytes.fromhex(line).decode()
    if path.startswith("/slow"):
        open(path.removeprefix("/slow")).read()
    print(0, flush=True)
"""


@pytest.fixture
def looks() -> Iterator[MountLooks]:
    looks = MountLooks()
    yield looks
    looks.close()


def test_it_tells_what_a_look_saw(looks: MountLooks, tmp_path: Path) -> None:
    odd = tmp_path / "a\nb\udcff"
    odd.mkdir()
    assert looks.look(str(odd), 10).errno == 0
    assert looks.look(str(tmp_path / "none"), 10).errno == errno.ENOENT
    assert looks.look(str(tmp_path), 10).waiting_seconds == 0


def test_a_path_that_gives_no_answer_keeps_nobody_else_waiting_and_is_known_when_it_does(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    looks = MountLooks((sys.executable, "-I", "-S", "-c", _LOOKER))
    try:
        slow = f"/slow{pipe}"
        first = looks.look(slow, 0.01)
        assert first.waiting_seconds > 0
        assert looks.look("/fine", 10).waiting_seconds == 0
        assert looks.look(slow, 0.01).waiting_seconds > first.waiting_seconds, "it is the same look that still waits"
        pipe.write_text("")
        assert looks.look(slow, 10).waiting_seconds == 0
        assert looks.look("/fine", 10).waiting_seconds == 0
    finally:
        looks.close()


def test_a_child_that_was_killed_is_told_and_replaced(tmp_path: Path) -> None:
    looks = MountLooks((sys.executable, "-c", ""))
    with pytest.raises(OSError, match=r"has ended|Broken pipe"):
        looks.look("/fine", 10)
    looks.close()
