"""A use that ends while its storage gives no answer."""

import threading
from pathlib import Path

import pytest

from orlop.drivers.volumes import san
from orlop.drivers.volumes.san import SanVolumes
from orlop.errors import Unavailable

DEVICE = {"portal": "127.0.0.1:1", "target": "iqn.2026-11.test:disk", "lun": "1"}
USE = "1" * 64


def test_one_thread_asks_again_however_often_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away, is_detached = [True], threading.Event()

    def detach(self: SanVolumes, volume: object, use_id: str) -> None:
        if away[0]:
            raise Unavailable("detaching volume one", "the storage does not answer")
        is_detached.set()

    monkeypatch.setattr(SanVolumes, "_detach", detach)
    monkeypatch.setattr(san, "_AGAIN_SECONDS", 0.01)
    driver = SanVolumes(tmp_path / "volumes", tmp_path / "run")
    before = set(threading.enumerate())
    try:
        driver.create("one", DEVICE, "{}")
        before |= set(threading.enumerate())
        for _ in range(3):
            with pytest.raises(Unavailable):
                driver.detach("one", USE)
        (thread,) = set(threading.enumerate()) - before
        away[0] = False
        assert is_detached.wait(10)
        thread.join(10)
        assert not thread.is_alive()
    finally:
        driver.close()
