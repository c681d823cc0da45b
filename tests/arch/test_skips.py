"""CI's check of skipped tests works."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.skips import read_allowed

CONFTEST = """
import sys
sys.path.insert(0, {tests!r})
from support.skips import StrictSkips

def pytest_configure(config):
    config.pluginmanager.register(StrictSkips(["*test_known*"]))
"""


@pytest.mark.parametrize(("name", "code"), [("test_known", 0), ("test_new", 1)])
def test_a_skip_that_is_not_listed_fails_the_run(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.format(tests=str(Path(__file__).parents[1])))
    (tmp_path / "test_it.py").write_text(f"import pytest\n\ndef {name}():\n    pytest.skip('no such ability')\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert ("not in tests/allowed_skips.txt" in done.stdout) is bool(code)


def test_the_reason_of_an_allowed_skip_is_no_part_of_its_pattern() -> None:
    assert read_allowed("# a comment\n\ntests/x.py::test_*  # no btrfs in CI\n") == ["tests/x.py::test_*"]
