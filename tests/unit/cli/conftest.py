"""The command in this process, against a daemon of cardboard."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orlop.cli.main import run
from support.fake_daemon import FakeDaemon, Outcome, Run


@pytest.fixture
def orlop(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`orlop("volume", "ls", answers={...})` runs the command and tells how it went."""
    for name in [name for name in os.environ if name.startswith(("DOCKER_", "ORLOP_"))]:
        monkeypatch.delenv(name)

    def call(*arguments: str, answers: Mapping[str, Any] | None = None, api_version: str = "1.52") -> Outcome:
        with FakeDaemon(tmp_path, answers or {}, api_version) as fake:
            status = run(["--host", fake.host, *arguments])
        fake.path.unlink()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Outcome(status, out, err, fake)

    return call
