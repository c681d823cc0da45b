"""Processes are found by where they work, which outlives whoever started them."""

import subprocess
from pathlib import Path

from orlop.kernel.process import working_in


def test_a_process_is_found_by_its_working_directory_also_through_a_link(tmp_path: Path) -> None:
    place, link = tmp_path / "place", tmp_path / "link"
    place.mkdir()
    link.symlink_to(place)
    with subprocess.Popen(["cat"], cwd=place, stdin=subprocess.PIPE) as process:
        assert working_in(place) == working_in(link) == [process.pid]
        assert working_in(tmp_path) == []
        process.kill()
    assert working_in(place) == []
