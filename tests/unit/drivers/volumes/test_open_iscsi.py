"""What open-iscsi is told, and what it says."""

import threading
from pathlib import Path

import pytest

from orlop.drivers.volumes import open_iscsi
from orlop.drivers.volumes.open_iscsi import (
    OpenIscsi,
    encoded_lun,
    interface_name,
    render_node,
    said_by,
    why_not_for,
)
from orlop.drivers.volumes.san_options import IscsiDevice, parse_san_options
from orlop.errors import Unsupported

ISCSI = {"portal": "[fd00::5]:3261", "target": "iqn.2026-11.test:disk1", "lun": "1"}
CHAP = {"chap-user": "me", "chap-password": "planted-word"}


def device(**more: str) -> IscsiDevice:
    found = parse_san_options("trying", {**ISCSI, **more}).device
    assert isinstance(found, IscsiDevice)
    return found


def record(**more: str) -> dict[str, str]:
    lines = render_node(device(**more), interface_name("some-id")).splitlines()
    return dict(line.split(" = ", 1) for line in lines if " = " in line)


def test_a_record_names_the_target_and_waits_for_storage_that_is_away() -> None:
    found = record(initiator="iqn.2026-11.test:host")
    assert found["node.name"] == "iqn.2026-11.test:disk1"
    assert (found["node.conn[0].address"], found["node.conn[0].port"]) == ("fd00::5", "3261")
    assert found["iface.initiatorname"] == "iqn.2026-11.test:host"
    assert found["iface.iscsi_ifacename"] == "orlop-some-id"
    assert found["node.session.timeo.replacement_timeout"] == "-1"
    assert found["node.session.scan"] == "manual"  # no other unit of the target gets a device here


def test_chap_is_asked_for_where_there_is_a_user() -> None:
    assert "node.session.auth.authmethod" not in record()
    found = record(**CHAP)
    assert found["node.session.auth.authmethod"] == "CHAP"
    assert found["node.session.auth.password"] == "planted-word"


@pytest.mark.parametrize(
    "more",
    [
        {"target": "iqn.2026-11.test:../../etc"},
        {**CHAP, "chap-password": "two\nnode.name = lines"},
        {**CHAP, "chap-password": "with space"},
        {**CHAP, "chap-user": "mé"},
    ],
)
def test_what_a_record_cannot_hold_goes_another_way(more: dict[str, str]) -> None:
    assert why_not_for(device(**more)).startswith("open-iscsi")
    assert not why_not_for(device(**CHAP))


def test_large_numbers_of_units_are_written_as_the_kernel_does() -> None:
    assert [encoded_lun(lun) for lun in (0, 255, 256, 16383)] == [0, 255, 0x4100, 0x7FFF]


def test_of_many_words_the_reason_is_taken() -> None:
    said = (
        "iscsiadm: Could not login to [x].\niscsiadm: initiator reported error (24 - no authorization)\niscsiadm: no\n"
    )
    assert said_by(said) == "no authorization"
    assert said_by("iscsiadm: first\niscsiadm: second\n") == "first"
    assert said_by("")


def test_one_thread_sees_to_an_iscsid_that_is_gone_and_says_why_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    begun, goes_on = threading.Semaphore(0), threading.Event()

    def require(self: OpenIscsi, subject: str) -> None:
        begun.release()
        assert goes_on.wait(10)
        raise Unsupported(subject, "it is not installed")

    monkeypatch.setattr(open_iscsi, "is_listening", lambda: False)
    monkeypatch.setattr(OpenIscsi, "require_iscsid", require)
    before = set(threading.enumerate())
    for number in range(5):
        OpenIscsi(tmp_path, tmp_path / str(number), "orlop-one").tend("the session of one")
    assert begun.acquire(timeout=10)
    (thread,) = set(threading.enumerate()) - before
    goes_on.set()
    thread.join(10)
    assert "the session of one" in caplog.text
    assert "it is not installed" in caplog.text
    OpenIscsi(tmp_path, tmp_path, "orlop-one").tend("the session of one")
    assert begun.acquire(timeout=10), "it is tried again"
