"""Options of the local driver: Docker's rules and texts, and what goes beyond them."""

from dataclasses import asdict

import pytest

from orlop.drivers.volumes.local_rules import MountOptions, parse_options
from orlop.errors import Malformed


def said(options: dict[str, str]) -> str:
    with pytest.raises(Malformed) as refused:
        parse_options("data", options)
    assert refused.value.subject == "create data"
    return refused.value.why


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"foo": "x"}, 'invalid option: "foo"'),
        ({"password": "hush", "type": "cifs"}, 'invalid option: "password"'),
        ({"Type": "tmpfs"}, 'invalid option: "Type"'),
        ({"device": "/x"}, 'missing required option: "type"'),
        ({"device": "/x", "o": "bind"}, 'missing required option: "type"'),
        ({"type": "tmpfs"}, 'missing required option: "device"'),
        ({"type": "tmpfs", "o": "size=1m"}, 'missing required option: "device"'),
        ({"o": "bind"}, 'missing required option: "device"'),
        ({"o": ""}, 'missing required option: "device"'),
        ({"o": "uid=5,noexec"}, 'missing required option: "device"'),
        ({"o": "uid"}, 'missing required option: "device"'),
        ({"o": "nocopy=yes"}, 'missing required option: "device"'),
        (
            {"type": "cifs", "device": "//h:445/s", "o": "x"},
            "port not allowed in CIFS device URL, include 'port' in 'o='",
        ),
        ({"type": "cifs", "device": "//h:hush/s"}, "error parsing mount device url: invalid port after host"),
        ({"size": ""}, "invalid size: ''"),
        ({"size": "x"}, "invalid size: 'x'"),
        ({"size": "10q"}, "invalid suffix: 'q'"),
        ({"size": "-1"}, "invalid size: '-1'"),
        ({"size": "99999999p"}, "size 99999999p is larger than any file system"),
    ],
)
def test_what_docker_refuses_is_refused_with_its_text(options: dict[str, str], why: str) -> None:
    assert said(options) == why


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"uid": "-1"}, "invalid uid: '-1'"),
        ({"uid": "root"}, "invalid uid: 'root'"),
        ({"uid": ""}, "invalid uid: ''"),
        ({"uid": "4294967295"}, "invalid uid: '4294967295'"),
        ({"gid": "٣"}, "invalid gid: '٣'"),
        ({"gid": "1 "}, "invalid gid: '1 '"),
        ({"mode": "0888"}, "invalid mode: '0888'"),
        ({"mode": "17777"}, "invalid mode: '17777'"),
        ({"mode": "-1"}, "invalid mode: '-1'"),
        ({"mode": ""}, "invalid mode: ''"),
        ({"inodes": "many"}, "invalid inodes: 'many'"),
        ({"o": "uid=x"}, "invalid uid: 'x'"),
        ({"o": "uid=1,uid=2"}, "uid is given twice, as '1' and as '2'"),
        ({"uid": "1", "o": "uid=2"}, "uid is given twice, as '1' and as '2'"),
        ({"nocopy": "no"}, "invalid nocopy: 'no'"),
        ({"nocopy": "", "copy": ""}, "copy and nocopy are given both"),
        ({"o": "noquota,size=1g"}, "noquota and a limit are given both"),
        ({"type": "tmpfs", "device": "x\x00y"}, "an option holds a NUL byte"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused(options: dict[str, str], why: str) -> None:
    assert said(options) == why


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"size": "0"}, {}),
        ({"o": "uid=1000"}, {"uid": 1000}),
        ({"o": "UID=0,GID=4294967294,mode=1777"}, {"uid": 0, "gid": 4294967294, "mode": 0o1777}),
        ({"o": "inodes=5,nocopy"}, {"inodes": 5, "no_copy": True}),
        ({"o": "noquota"}, {}),
        ({"o": "uid=5", "uid": "5"}, {"uid": 5}),
        ({"copy": ""}, {}),
        ({"mode": "00750"}, {"mode": 0o750}),
        (
            {"type": "tmpfs", "device": "tmpfs", "o": "uid=5,size=1m"},
            {"fs_type": "tmpfs", "device": "tmpfs", "options": "uid=5,size=1m"},
        ),
        ({"type": "tmpfs", "device": ""}, {"fs_type": "tmpfs"}),
        ({"type": "", "device": "/srv", "o": "bind"}, {"device": "/srv", "options": "bind"}),
        ({"type": "cifs", "device": "//h/a share"}, {"fs_type": "cifs", "device": "//h/a share"}),
        (
            {"type": "ext4", "device": "/dev/x", "gid": "5"},
            {"fs_type": "ext4", "device": "/dev/x", "gid": 5, "owner_pending": True},
        ),
    ],
)
def test_what_is_accepted_means_this(options: dict[str, str], expected: dict[str, object]) -> None:
    plain = asdict(MountOptions())
    assert {key: value for key, value in asdict(parse_options("data", options)).items() if value != plain[key]} == (
        expected
    )
