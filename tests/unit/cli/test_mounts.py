"""-v and --mount as the API's fields."""

from pathlib import Path
from typing import Any

import pytest

from orlop.cli.mounts import parse_mount, parse_volume_flag
from orlop.client.errors import ClientError


@pytest.mark.parametrize(
    ("text", "body"),
    [
        ("source=data,target=/x", {"Type": "volume", "Source": "data", "Target": "/x"}),
        ("target=/x", {"Type": "volume", "Target": "/x"}),
        (
            "type=bind,src=/a,dst=/x,readonly,bind-propagation=rslave",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/x",
                "ReadOnly": True,
                "BindOptions": {"Propagation": "rslave"},
            },
        ),
        (
            "type=bind,src=/a,dst=/x,ro=false,bind-recursive=disabled",
            {"Type": "bind", "Source": "/a", "Target": "/x", "ReadOnly": False, "BindOptions": {"NonRecursive": True}},
        ),
        (
            'source=v,target=/x,volume-nocopy,volume-driver=d,"volume-opt=o=a,b",volume-label=k=v,volume-subpath=s',
            {
                "Type": "volume",
                "Source": "v",
                "Target": "/x",
                "VolumeOptions": {
                    "NoCopy": True,
                    "DriverConfig": {"Name": "d", "Options": {"o": "a,b"}},
                    "Labels": {"k": "v"},
                    "Subpath": "s",
                },
            },
        ),
        (
            "type=tmpfs,target=/x,tmpfs-size=64m,tmpfs-mode=1777",
            {"Type": "tmpfs", "Target": "/x", "TmpfsOptions": {"SizeBytes": 64 << 20, "Mode": 0o1777}},
        ),
        ('"source=with ""quotes""",target=/x', {"Type": "volume", "Source": 'with "quotes"', "Target": "/x"}),
    ],
)
def test_mounts(text: str, body: dict[str, Any]) -> None:
    assert parse_mount(text) == body


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "needs a value|unknown key"),
        ("source=a", "target is required"),
        ("type=bind,target=/x,volume-nocopy", "options of a volume"),
        ("target=/x,colour=red", "unknown key 'colour'"),
        ("target", "needs a value"),
        ("target=/x,readonly=perhaps", "true or false"),
        ("type=floppy,target=/x", "floppy"),
        ("type=tmpfs,target=/x,tmpfs-mode=999", "octal"),
        ("type=tmpfs,target=/x,tmpfs-size=much", "tmpfs-size"),
        ('"target=/x', "not closed"),
        ('"target=/x"y', "comma"),
        ("target=/x,volume-label==v", "NAME=VALUE"),
        ("type=bind,target=/x,bind-recursive=often", "bind-recursive"),
    ],
)
def test_mounts_that_make_no_sense_say_why(text: str, why: str) -> None:
    with pytest.raises(ClientError, match=why) as caught:
        parse_mount(text)
    assert caught.value.exit_code == 125


def test_a_relative_host_path_is_made_absolute_and_links_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("link").symlink_to("/etc")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_volume_flag("./link:/x:ro") == f"{tmp_path}/link:/x:ro"
    assert parse_volume_flag("~/data:/x") == "/home/me/data:/x"
    assert parse_volume_flag("..:/x") == f"{tmp_path.parent}:/x"
    assert parse_volume_flag("data:/x") == "data:/x"
    assert parse_volume_flag("/x") == "/x"
    assert parse_mount("type=bind,source=./link,target=/x")["Source"] == f"{tmp_path}/link"
