"""-v and --mount as the API's fields."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (
            "type=image,source=i,target=/x,image-subpath=a/b",
            {"Type": "image", "Source": "i", "Target": "/x", "ImageOptions": {"Subpath": "a/b"}},
        ),
        (
            "source=v,target=/x,idmap",
            {"Type": "volume", "Source": "v", "Target": "/x", "VolumeOptions": {"IDMapping": {"Source": "match-user"}}},
        ),
        (
            "idmap=match-user:7:9,type=bind,source=/v,target=/x",
            {
                "Type": "bind",
                "Source": "/v",
                "Target": "/x",
                "BindOptions": {"IDMapping": {"Source": "match-user", "User": "7:9"}},
            },
        ),
        (
            "type=bind,source=/v,target=/x,bind-idmap,bind-recursive=readonly,ro",
            {
                "Type": "bind",
                "Source": "/v",
                "Target": "/x",
                "ReadOnly": True,
                "BindOptions": {"IDMapping": {"Source": "match-user"}, "ReadOnlyForceRecursive": True},
            },
        ),
    ],
)
def test_mounts_of_images_and_with_ids_mapped(text: str, body: dict[str, Any]) -> None:
    assert parse_mount(text) == body


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("type=tmpfs,target=/x,idmap", "type bind or volume"),
        ("type=image,source=i,target=/x,idmap", "type bind or volume"),
        ("source=v,target=/x,bind-idmap", "options of a bind"),
        ("source=v,target=/x,image-subpath=a", "options of a image"),
    ],
)
def test_options_of_another_kind_are_refused(text: str, why: str) -> None:
    with pytest.raises(ClientError, match=why):
        parse_mount(text)


fields = st.sampled_from(
    [
        *("type=bind", "type=image", "type=tmpfs", "type=volume", "type", "source=a", "src=/b", "target=/x", "dst="),
        *(
            "readonly",
            "ro=0",
            "ro=x",
            "idmap",
            "idmap=a:b",
            "bind-idmap",
            "volume-nocopy",
            "volume-opt=o=a",
            "volume-opt",
        ),
        *(
            "tmpfs-size=1m",
            "tmpfs-size=-",
            "tmpfs-mode=7",
            "bind-recursive=readonly",
            '"volume-label=a=b,c"',
            '"',
            "=",
            "",
        ),
    ]
)


@given(st.lists(fields, max_size=6).map(",".join) | st.text(max_size=30))
def test_any_text_is_a_mount_or_refused_with_the_text(text: str) -> None:
    try:
        body = parse_mount(text)
    except ClientError as refused:
        assert refused.exit_code == 125
        return
    assert body["Target"] and body["Type"] in ("bind", "volume", "tmpfs", "image")
    families = [family for family in body if family.endswith("Options")]
    assert all(family.removesuffix("Options").lower() == body["Type"] for family in families)


quotable = st.text(max_size=12).filter(lambda text: "\n" not in text and "\r" not in text)


@given(quotable.filter(bool), quotable)
def test_any_value_can_be_written_in_quotes(source: str, label: str) -> None:
    quoted = [f"target=/{source}", f"volume-label=k={label}"]
    text = ",".join('"' + field.replace('"', '""') + '"' for field in quoted)
    body = parse_mount(text)
    assert (body["Target"], body["VolumeOptions"]["Labels"]) == (f"/{source}", {"k": label})
