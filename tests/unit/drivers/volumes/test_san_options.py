"""Options of SAN volumes: what is taken, and what is refused before the storage is asked."""

import pytest

from orlop.drivers.volumes.san_options import Format, Fsck, IscsiDevice, NbdDevice, Portal, parse_san_options
from orlop.errors import Malformed

ISCSI = {"portal": "10.0.0.5", "target": "iqn.2026-11.test:disk1", "lun": "1"}
NBD = {"protocol": "nbd", "host": "10.0.0.5"}


def test_iscsi_takes_a_portal_a_target_and_a_unit() -> None:
    found = parse_san_options("create db", ISCSI)
    assert found.device == IscsiDevice(Portal("10.0.0.5", 3260), "iqn.2026-11.test:disk1", 1)
    assert (found.fs_type, found.format, found.fsck) == ("", Format.BLANK_ONLY, Fsck.AUTO)
    assert found.discard and not found.read_only and not found.data_journal
    assert parse_san_options("create db", {**ISCSI, "data-journal": "true"}).data_journal


def test_nbd_takes_a_host() -> None:
    found = parse_san_options("create db", {**NBD, "export": "disk1", "fstype": "xfs", "discard": "no", "mode": "0750"})
    assert found.device == NbdDevice(Portal("10.0.0.5", 10809), "disk1")
    assert (found.fs_type, found.discard, found.mode) == ("xfs", False, 0o750)


@pytest.mark.parametrize(
    ("portal", "spelt"),
    [
        ("san:3261", "san:3261"),
        ("[fd00::5]", "[fd00::5]:3260"),
        ("[fd00::5]:1", "[fd00::5]:1"),
        ("s-1.a.b", "s-1.a.b:3260"),
    ],
)
def test_portals_are_read_as_people_write_them(portal: str, spelt: str) -> None:
    device = parse_san_options("create db", {**ISCSI, "portal": portal}).device
    assert isinstance(device, IscsiDevice) and str(device.portal) == spelt


def test_one_device_has_one_key_by_any_portal() -> None:
    one, other = ({**ISCSI, "portal": portal} for portal in ("10.0.0.5", "san.example.com:3261"))
    assert parse_san_options("", one).device.key == parse_san_options("", other).device.key
    assert parse_san_options("", {**ISCSI, "lun": "2"}).device.key != parse_san_options("", ISCSI).device.key


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({}, 'missing required option: "portal"'),
        ({"portal": "a", "lun": "1"}, 'missing required option: "target"'),
        ({**ISCSI, "lun": ""}, 'missing required option: "lun"'),
        ({**ISCSI, "lun": "-1"}, "invalid lun: '-1'"),
        ({**ISCSI, "lun": "99999"}, "invalid lun: '99999'"),
        ({**ISCSI, "target": "disk1"}, "invalid target: 'disk1'"),
        ({**ISCSI, "target": "iqn.2026-13.test:x"}, "invalid target"),
        ({**ISCSI, "portal": "a b"}, "invalid portal: 'a b'"),
        ({**ISCSI, "portal": "a:70000"}, "invalid portal: the port '70000'"),
        ({**ISCSI, "portal": "a,discard=x"}, "invalid portal"),
        ({**ISCSI, "initiator": "me"}, "invalid initiator: 'me'"),
        ({**ISCSI, "chap-user": "me"}, 'missing required option: "chap-password"'),
        ({**ISCSI, "chap-password": "x"}, 'missing required option: "chap-user"'),
        ({**ISCSI, "host": "a"}, '"host" is not for protocol=iscsi'),
        ({**NBD, "target": "iqn.2026-11.test:x"}, '"target" is not for protocol=nbd'),
        ({**NBD, "port": "0"}, "invalid port: the port '0'"),
        ({**NBD, "host": "a/b"}, "invalid host: 'a/b'"),
        ({"protocol": "fc"}, "invalid protocol: 'fc'"),
        ({**ISCSI, "fstype": "btrfs"}, "invalid fstype: 'btrfs'"),
        ({**ISCSI, "format": "always"}, "invalid format: 'always'"),
        ({**ISCSI, "fsck": "maybe"}, "invalid fsck: 'maybe'"),
        ({**ISCSI, "read-only": "2"}, "invalid read-only: '2'"),
        ({**ISCSI, "mode": "9"}, "invalid mode: '9'"),
        ({**ISCSI, "uid": "me"}, "invalid uid: 'me'"),
        ({**ISCSI, "uid": "1", "format": "never"}, "an owner is given to what is not made"),
        ({**ISCSI, "initiator": "iqn.2026-11.test:\x00"}, "NUL"),
        ({**ISCSI, "size": "1g"}, 'invalid option: "size"'),
    ],
)
def test_what_could_never_work_is_refused(options: dict[str, str], why: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_san_options("create db", options)
    assert why in refused.value.message


def test_no_message_shows_a_password() -> None:
    with pytest.raises(Malformed) as refused:
        parse_san_options("create db", {**ISCSI, "chap-password": "hunter2"})
    assert "hunter2" not in refused.value.message
