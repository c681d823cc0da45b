"""The grammar of -v, against the examples that Docker's own clients rely on."""

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.mount import MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import (
    check_mount_request,
    clean_path,
    parse_bind,
    parse_tmpfs_options,
    parse_volumes_from,
)

PROPAGATION_WORDS = ["private", "rprivate", "shared", "rshared", "slave", "rslave"]

ACCEPTED = [
    *("/home", "/home:/home", "/with space", "/home:/with space", "relative:/absolute-path", "hostPath:/c:ro"),
    *("/rw:/ro", "/h:/c:rw", "/h:/c:ro,z,shared", "/h:/c:slave,Z,ro", "/h:/c:ro,Z,rprivate", "local/name:/tmp:rw"),
    *("name:/c:nocopy", "name:/c:ro,nocopy,z", "/h:/c:", "/h:/c:cached", "/hostPath:/containerPath:ro,Z,rshared"),
]
REFUSED = [
    *("", "./", "../", "/:../", "/:path", ":", "/tmp:", ":test", ":/test", "tmp:", ":test:", "::", ":::", "/tmp:::"),
    *(":/tmp::", "/path:rw", "/rw:rw", "path:ro", "/path:shared", "/path:/path:sw", "/path:/path:rwz", "/:/"),
    *("/path:/path:ro,rshared,rslave", "/path:/path:ro,z,rshared,rslave", "/path:/path:copy", "/p:/p:default"),
    *(f"name:/absolute-path:{word}" for word in PROPAGATION_WORDS),
    *("/path:/path:nocopy", "name:/a/..", "/path:/path:ro,ro", "/path:/path:ro,rw", "/path:/path:z,Z", "/tmp::ro"),
]


@pytest.mark.parametrize("spec", ACCEPTED)
def test_what_docker_accepts_is_accepted(spec: str) -> None:
    assert parse_bind(spec).destination.startswith("/")


@pytest.mark.parametrize("spec", REFUSED)
def test_what_docker_refuses_is_refused(spec: str) -> None:
    with pytest.raises(Malformed):
        parse_bind(spec)


def test_a_leading_slash_makes_a_host_path_and_anything_else_a_volume() -> None:
    bind, volume, anonymous = parse_bind("/srv/data/:/d"), parse_bind("data:/d"), parse_bind("/d")
    assert (bind.kind, bind.source, bind.create_source) == (MountKind.BIND, "/srv/data", True)
    assert (volume.kind, volume.source, volume.create_source) == (MountKind.VOLUME, "data", False)
    assert (anonymous.kind, anonymous.source, anonymous.destination) == (MountKind.VOLUME, "", "/d")


def test_mode_words_end_up_in_their_fields() -> None:
    request = parse_bind("/h:/c:ro,z,rslave")
    assert (request.read_only, request.propagation, request.mode) == (True, "rslave", "ro,z,rslave")
    assert parse_bind("name:/c:nocopy").no_copy
    assert not parse_bind("name:/c").read_only


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("/tmp:", "invalid volume specification: '/tmp:'"),
        ("/path:/path:sw", "invalid mode: sw"),
        (
            "name:/c:shared",
            "invalid volume specification: 'name:/c:shared': invalid mount config for type \"volume\": "
            "field BindOptions must not be specified",
        ),
        (
            "/h:/c:nocopy",
            "invalid volume specification: '/h:/c:nocopy': invalid mount config for type \"bind\": "
            "field VolumeOptions must not be specified",
        ),
        ("/h:tmp", "invalid mount path: 'tmp' mount path must be absolute"),
        ("/h:/", "invalid specification: destination can't be '/'"),
        ("/h:\\", "invalid specification: destination can't be '/'"),
    ],
)
def test_refusals_say_what_docker_says(spec: str, text: str) -> None:
    with pytest.raises(Malformed) as refused:
        parse_bind(spec)
    assert text in refused.value.message


def test_the_container_wide_driver_is_for_volumes_only() -> None:
    assert parse_bind("data:/d", "nas").driver == "nas"
    assert parse_bind("/srv:/d", "nas").driver == ""


@example("\\0")  # a backslash is no slash to Linux
@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused_and_a_parsed_destination_is_clean(spec: str) -> None:
    try:
        request = parse_bind(spec)
    except Malformed as refused:
        assert refused.why
        return
    assert request.destination.startswith("/") and request.destination != "/"
    assert ".." not in request.destination.split("/")
    assert clean_path(request.destination) == request.destination


names = st.text("abcXYZ019_.-/ ", min_size=1, max_size=12)


@given(source=names, destination=names, mode=st.sampled_from(["", "ro", "rw", "ro,z"]))
def test_what_is_put_together_comes_apart_again(source: str, destination: str, mode: str) -> None:
    wanted = clean_path("/" + destination)
    if wanted == "/":
        return
    request = parse_bind(f"{source}:/{destination}:{mode}")
    assert request.destination == wanted
    assert request.read_only == ("ro" in mode)
    is_path = source.startswith("/")
    assert request.source == (posixpath.normpath(source).replace("//", "/") if is_path else source)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (MountRequest(MountKind.BIND, "", source="/x"), "field Target must not be empty"),
        (MountRequest(MountKind.BIND, "/x"), "field Source must not be empty"),
        (MountRequest(MountKind.BIND, "/x", source="y"), "invalid mount path: 'y' mount path must be absolute"),
        (MountRequest(MountKind.BIND, "/x", source="/y", propagation="odd"), "invalid propagation mode: odd"),
        (
            MountRequest(MountKind.BIND, "/x", source="/y", labels={"a": "b"}),
            "field VolumeOptions must not be specified",
        ),
        (MountRequest(MountKind.BIND, "/x", source="/y", tmpfs_mode=1), "field TmpfsOptions must not be specified"),
        (MountRequest(MountKind.VOLUME, "/x", non_recursive=True), "field BindOptions must not be specified"),
        (MountRequest(MountKind.VOLUME, "/x", subpath="a"), "must not set Subpath when using anonymous volumes"),
        (
            MountRequest(MountKind.VOLUME, "/x", "v", subpath="../a"),
            "subpath must be a relative path within the volume",
        ),
        (MountRequest(MountKind.VOLUME, "/x", "v", subpath="/a"), "subpath must be a relative path within the volume"),
        (MountRequest(MountKind.VOLUME, "x"), "invalid mount path: 'x' mount path must be absolute"),
        (MountRequest(MountKind.VOLUME, "/x/.."), "invalid specification: destination can't be '/'"),
        (MountRequest(MountKind.TMPFS, "/x", source="y"), "field Source must not be specified"),
        (MountRequest(MountKind.TMPFS, "/x", tmpfs_options=("uid=1",)), "invalid option: uid=1"),
    ],
)
def test_a_wrong_mount_is_refused_with_the_field_that_is_wrong(request_: MountRequest, reason: str) -> None:
    with pytest.raises(Malformed) as refused:
        check_mount_request(request_)
    assert refused.value.why == f'invalid mount config for type "{request_.kind}": {reason}'


def test_paths_of_a_right_mount_come_out_clean() -> None:
    request = check_mount_request(MountRequest(MountKind.BIND, "//c/./d/../e/", source="/a//b/"))
    assert (request.destination, request.source) == ("/c/e", "/a/b")
    assert check_mount_request(MountRequest(MountKind.VOLUME, "/c", source="v", subpath="a/../b/")).subpath == "b"


def test_volumes_from_knows_the_container_and_whether_it_is_read_only() -> None:
    assert parse_volumes_from("app") == ("app", False)
    assert parse_volumes_from("app:ro,z") == ("app", True)
    for wrong in ("", "app:nocopy", "app:rshared", "app:x"):
        with pytest.raises(Malformed):
            parse_volumes_from(wrong)


def test_tmpfs_options_start_safe_and_a_later_word_of_a_kind_wins() -> None:
    assert parse_tmpfs_options("") == ("noexec", "nosuid", "nodev", "rprivate")
    assert set(parse_tmpfs_options("exec,size=64m,size=32m,ro")) == {
        *("exec", "nosuid", "nodev", "rprivate", "size=32m", "ro"),
    }
    assert MountOrigin.TMPFS == "tmpfs"


@pytest.mark.parametrize("options", ["banana", "size", "size=", "foo=bar", "noexec,hello"])
def test_an_unknown_tmpfs_option_is_named(options: str) -> None:
    with pytest.raises(Malformed, match="invalid tmpfs option"):
        parse_tmpfs_options(options)
