"""Mounts of a create request, field by field and version by version."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.docker.translate.mounts_in import mount_requests, mount_warnings
from orlop.docker.versions import NEWEST
from orlop.docker.wire import container as wire
from orlop.docker.wire.decoding import decode_json
from orlop.errors import Malformed, OrlopError, Unsupported
from orlop.model.mount import IdMapping, MountKind, MountRequest


def host(**fields: Any) -> wire.HostConfig:
    return decode_json(msgspec.json.encode(fields), wire.HostConfig)


def one(mount: dict[str, Any], api: tuple[int, int] = NEWEST) -> MountRequest:
    (request,) = mount_requests(host(Mounts=[mount]), api)
    return request


BIND = {"Type": "bind", "Source": "/a", "Target": "/b"}
IMAGE = {"Type": "image", "Source": "i", "Target": "/b"}
VOLUME = {"Type": "volume", "Source": "v", "Target": "/b"}


@pytest.mark.parametrize(
    ("mount", "api", "text"),
    [
        ({**BIND, "VolumeOptions": {}}, (1, 42), 'VolumeOptions must not be specified on mount type "bind"'),
        ({**BIND, "TmpfsOptions": {}}, (1, 42), 'TmpfsOptions must not be specified on mount type "bind"'),
        ({**VOLUME, "BindOptions": {}}, (1, 42), 'BindOptions must not be specified on mount type "volume"'),
        (
            {**BIND, "VolumeOptions": {}},
            (1, 41),
            'invalid mount config for type "bind": field VolumeOptions must not be specified',
        ),
        (
            {**BIND, "ImageOptions": {}},
            NEWEST,
            'invalid mount config for type "bind": field ImageOptions must not be specified',
        ),
        ({**VOLUME, "VolumeOptions": {"Subpath": "x"}}, (1, 44), "VolumeOptions.Subpath needs API v1.45 or newer"),
        (IMAGE, (1, 47), 'Mount type "Image" needs API v1.48 or newer'),
        ({**IMAGE, "Source": ""}, NEWEST, 'invalid mount config for type "image": field Source must not be empty'),
        (
            {**BIND, "BindOptions": {"ReadOnlyForceRecursive": True}},
            (1, 43),
            "BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer",
        ),
        (
            {**BIND, "BindOptions": {"Propagation": "odd"}},
            NEWEST,
            'invalid mount config for type "bind": invalid propagation mode: odd',
        ),
        ({"Type": "", "Target": "/b"}, NEWEST, 'invalid mount config for type "": mount type unknown'),
        ({"Type": "npipe", "Target": "/b"}, NEWEST, 'invalid mount config for type "npipe": mount type unknown'),
        ({"Type": "cluster", "Target": "/b"}, NEWEST, 'invalid mount config for type "cluster": mount type unknown'),
        ({**BIND, "BindOptions": {"IDMapping": "odd"}}, NEWEST, "invalid id mapping: odd"),
    ],
)
def test_wrong_mounts_are_refused_in_dockers_words(mount: dict[str, Any], api: tuple[int, int], text: str) -> None:
    with pytest.raises(Malformed) as refused:
        one(mount, api)
    assert refused.value.why == text


def test_what_runs_on_windows_only_says_so() -> None:
    with pytest.raises(Malformed) as refused:
        one({"Type": "npipe", "Source": "//./pipe/x", "Target": "//./pipe/x"})
    assert "Windows containers, which do not run on Linux" in refused.value.hint


def test_fields_younger_than_the_api_asked_for_do_not_count() -> None:
    options = {"CreateMountpoint": True, "NonRecursive": True, "ReadOnlyNonRecursive": True}
    old = one({**BIND, "BindOptions": options}, (1, 39))
    assert not (old.create_source or old.non_recursive or old.read_only_non_recursive)
    new = one({**BIND, "BindOptions": options}, (1, 44))
    assert new.create_source and new.non_recursive and new.read_only_non_recursive


def test_older_clients_are_not_given_read_only_below() -> None:
    """Of binds; a volume is theirs all the way down anyway."""
    mounts = [{**VOLUME, "ReadOnly": True}, {**BIND, "ReadOnly": True}]
    fields = host(Binds=["/a:/b:ro", "/c:/d", "v:/e:ro"], Mounts=mounts)
    found = [each.read_only_non_recursive for each in mount_requests(fields, (1, 43))]
    assert found == [True, False, False, False, True]
    assert not any(each.read_only_non_recursive for each in mount_requests(fields, (1, 44)))


@pytest.mark.parametrize(
    ("said", "mapping", "user"),
    [
        (None, IdMapping.NONE, ""),
        ({}, IdMapping.NONE, ""),
        ("", IdMapping.NONE, ""),
        ("match-user", IdMapping.MATCH_USER, ""),
        ({"Source": "match-user"}, IdMapping.MATCH_USER, ""),
        ({"source": "match-user", "user": "www-data:99"}, IdMapping.MATCH_USER, "www-data:99"),
    ],
)
def test_an_id_mapping_is_a_word_or_an_object(said: object, mapping: IdMapping, user: str) -> None:
    for base, options in ((BIND, "BindOptions"), (VOLUME, "VolumeOptions")):
        request = one({**base, options: {"IDMapping": said}})
        assert (request.id_mapping, request.id_mapping_user) == (mapping, user)


def test_inspect_gives_back_the_mapping_as_it_was_said() -> None:
    for said in ("match-user", {"Source": "match-user"}, {"Source": "match-user", "User": "7"}):
        mount = host(Mounts=[{**BIND, "BindOptions": {"IDMapping": said}}]).Mounts
        assert msgspec.json.decode(msgspec.json.encode(mount))[0]["BindOptions"] == {"IDMapping": said}


def test_a_mapping_by_a_user_namespace_is_not_to_be_had() -> None:
    with pytest.raises(Unsupported, match="match-user"):
        one({**BIND, "BindOptions": {"IDMapping": {"Source": "userns"}}})


def test_the_target_stays_as_it_was_sent_for_the_error_that_names_it() -> None:
    assert one({**VOLUME, "Target": "/b/../c/"}).destination == "/b/../c/"


@pytest.mark.parametrize(
    ("fields", "api", "warned"),
    [
        ({"VolumeDriver": "nas", "Mounts": [VOLUME]}, (1, 48), True),
        ({"VolumeDriver": "nas", "Mounts": [VOLUME]}, (1, 47), False),
        ({"VolumeDriver": "", "Mounts": [VOLUME]}, (1, 48), False),
        ({"VolumeDriver": "nas", "Mounts": [BIND]}, (1, 48), False),
        ({"VolumeDriver": "nas", "Binds": ["v:/b"]}, (1, 48), False),
        (
            {"VolumeDriver": "nas", "Mounts": [{**VOLUME, "VolumeOptions": {"DriverConfig": {"Name": "local"}}}]},
            (1, 48),
            False,
        ),
    ],
)
def test_a_container_wide_driver_that_does_not_hold_is_told(
    fields: dict[str, Any], api: tuple[int, int], warned: bool
) -> None:
    warnings = mount_warnings(host(**fields), api)
    assert bool(warnings) == warned
    assert all(text.startswith("WARNING: the container-wide volume-driver") for text in warnings)


paths = st.sampled_from(["", "/", "/a", "/a/", "a", "/a/../b", "v", "/proc/x", "\\", "\0", "../x"])
options = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "Propagation": st.sampled_from(["", "rshared", "odd"]),
        "NonRecursive": st.booleans(),
        "ReadOnlyForceRecursive": st.booleans(),
        "IDMapping": st.none() | st.text(max_size=10) | st.dictionaries(st.sampled_from(["Source", "User"]), st.text()),
        "Subpath": paths,
        "NoCopy": st.booleans(),
        "SizeBytes": st.integers(-5, 5),
        "Options": st.lists(st.lists(st.sampled_from(["exec", "noexec", "uid", "7"]), max_size=3), max_size=2),
    },
)
mounts = st.fixed_dictionaries(
    {"Type": st.sampled_from(["bind", "volume", "tmpfs", "image", "npipe", "cluster", "", "x"])},
    optional={
        "Source": paths,
        "Target": paths,
        "ReadOnly": st.booleans(),
        "Consistency": st.text(max_size=5),
        **{f"{kind}Options": options for kind in ("Bind", "Volume", "Tmpfs", "Image")},
    },
)


@given(mounts, st.sampled_from([(1, 24), (1, 40), (1, 42), (1, 44), (1, 48), NEWEST]))
def test_any_mount_is_taken_or_refused_with_a_reason(mount: dict[str, Any], api: tuple[int, int]) -> None:
    try:
        request = one(mount, api)
    except OrlopError as refused:
        assert isinstance(refused, Malformed | Unsupported) and refused.why
        return
    assert request.kind is MountKind(mount["Type"]) and request.destination == mount["Target"]
