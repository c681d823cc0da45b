"""`orlop driver-test` where it cannot work."""

import importlib.util
from pathlib import Path

import pytest

from orlop.errors import Unsupported
from orlop.testing.driver_run import run_suites
from orlop.testing.driver_target import Target


def test_without_pytest_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match=r"it needs pytest, which is not installed here\. .*pip install pytest"):
        run_suites(Target(dict, "here.py"), 1, lambda found: None, lambda outcome: None)
