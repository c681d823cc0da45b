"""What qemu-storage-daemon is asked for: by its version, and without a word that nobody may read."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orlop.drivers.volumes import san_program
from orlop.drivers.volumes.san_chain import explained
from orlop.drivers.volumes.san_options import parse_san_options
from orlop.drivers.volumes.san_program import san_command
from orlop.errors import HostFailure, OrlopError, Unavailable

ISCSI = {"portal": "10.0.0.5", "target": "iqn.2026-11.test:disk1", "lun": "1"}


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program of that name, which says what the test writes into it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "qemu-storage-daemon"
    yield program
    san_program._version.cache_clear()


def says(program: Path, version: str) -> None:
    program.write_text(f"#!/bin/sh\necho {version}\n")
    program.chmod(0o755)
    san_program._version.cache_clear()


def nodes(**more: str) -> list[dict[str, Any]]:
    argv = san_command(parse_san_options("trying", {**ISCSI, **more}), Path("/run/p"), Path("/run/d")).argv
    return [json.loads(word) for before, word in pairwise(argv) if before == "--blockdev"]


@pytest.mark.parametrize("version_text", ["qemu-storage-daemon version 8.0.0", "any version 10.1.2 (x)"])
def test_a_version_whose_holes_are_zeroes_passes_discards_down(version: Path, version_text: str) -> None:
    says(version, f"'{version_text}'")
    (device,) = nodes()
    assert device["discard"] == "unmap"


@pytest.mark.parametrize("version_text", ["qemu-storage-daemon version 7.2.22 (Debian)", "something else"])
def test_an_older_one_and_one_that_cannot_be_told_refuse_all_holes(version: Path, version_text: str) -> None:
    says(version, f"'{version_text}'")
    _, guard = nodes()
    refused = {"event": "none", "iotype": "discard", "errno": 38}
    assert guard["driver"] == "blkdebug" and guard["inject-error"] == [refused]


def test_who_wants_no_discard_gets_none(version: Path) -> None:
    says(version, "'qemu-storage-daemon version 9.0.0'")
    device, guard = nodes(discard="false")
    assert device["discard"] == "ignore" and guard["driver"] == "blkdebug"


@pytest.mark.parametrize(
    ("version_text", "is_left_out"),
    [
        ("version 5.2.0", False),
        ("version 7.2.22", True),
        ("version 9.2.0", True),
        ("version 10.0.0", False),
        ("", False),
    ],
)
def test_the_guards_own_flush_is_left_out_only_where_its_devices_is_known_to_stay(
    version: Path, version_text: str, is_left_out: bool
) -> None:
    says(version, f"'{version_text}'")
    device, guard = nodes(discard="false")
    assert guard.get("cache") == ({"no-flush": True} if is_left_out else None)
    assert "cache" not in device


def test_a_password_goes_through_a_file(version: Path) -> None:
    says(version, "'qemu-storage-daemon version 9.0.0'")
    options = parse_san_options("trying", {**ISCSI, "chap-user": "me", "chap-password": "planted-word"})
    command = san_command(options, Path("/run/p"), Path("/run/d"))
    assert list(command.files.values()) == ["planted-word"]
    assert "planted-word" not in " ".join(command.argv)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Target not found(515)", Unavailable),
        ("iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Service unavailable(769)", Unavailable),
        ("iSCSI: Failed to connect to LUN : SENSE KEY:ILLEGAL_REQUEST(5) ASCQ:LOGICAL_UNIT_NOT_SUPPORTED", Unavailable),
        ("requested export 'disk' not available", Unavailable),
        ("iSCSI: Failed to connect to LUN : iscsi_service failed with : Connection refused", Unavailable),
        (
            "iSCSI: Failed to connect to LUN : Failed to log in to target. Status: Authentication failure(513)",
            HostFailure,
        ),
    ],
)
def test_storage_that_does_not_show_a_device_yet_is_waited_for(said: str, kind: type[OrlopError]) -> None:
    """A storage system that starts takes connections before it shows all that it has."""
    error = HostFailure("attaching volume db", f"its program ended: qemu-storage-daemon: {said}")
    assert type(explained("attaching volume db", parse_san_options("db", ISCSI), error)) is kind
