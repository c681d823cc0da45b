"""The grammar of -v, against the examples that Docker's own clients rely on."""

import posixpath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.mount import IdMapping, MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import (
    PROPAGATIONS,
    check_mount_request,
    clean_path,
    merge_tmpfs_options,
    parse_bind,
    parse_tmpfs_options,
    parse_volumes_from,
    render_size,
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
        (MountRequest(MountKind.TMPFS, "/x", tmpfs_size_bytes=-1), "size and mode must not be negative"),
        (
            MountRequest(MountKind.TMPFS, "/x", id_mapping=IdMapping.MATCH_USER),
            "field BindOptions must not be specified",
        ),
        (MountRequest(MountKind.IMAGE, "/x"), "field Source must not be empty"),
        (MountRequest(MountKind.IMAGE, "/x", "i", no_copy=True), "field VolumeOptions must not be specified"),
        (MountRequest(MountKind.IMAGE, "/x", "i", propagation="shared"), "field BindOptions must not be specified"),
        (MountRequest(MountKind.IMAGE, "/x", "i", subpath="/a"), "subpath must be a relative path within the volume"),
        (
            MountRequest(MountKind.IMAGE, "/x", "i", subpath="a/../.."),
            "subpath must be a relative path within the volume",
        ),
        # Foreign options are found before a missing target, that before the root, that before a relative path.
        (MountRequest(MountKind.BIND, "", no_copy=True), "field VolumeOptions must not be specified"),
        (MountRequest(MountKind.BIND, ".."), "invalid mount path: '..' mount path must be absolute"),
        (MountRequest(MountKind.BIND, "/"), "invalid specification: destination can't be '/'"),
        (MountRequest(MountKind.BIND, "x", source=""), "invalid mount path: 'x' mount path must be absolute"),
        (
            MountRequest(MountKind.VOLUME, "/proc", "v"),
            '"/proc" cannot be mounted because it is not of type proc',
        ),
        (MountRequest(MountKind.BIND, "/proc", "/srv"), '"/proc" cannot be mounted because it is not of type proc'),
        (
            MountRequest(MountKind.BIND, "/x/../proc/self", "/srv"),
            '"/x/../proc/self" cannot be mounted because it is inside /proc',
        ),
        (MountRequest(MountKind.TMPFS, "/proc/acpi"), '"/proc/acpi" cannot be mounted because it is inside /proc'),
        (
            MountRequest(MountKind.VOLUME, "/proc/stat", "v"),
            '"/proc/stat" cannot be mounted because it is inside /proc',
        ),
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


@pytest.mark.parametrize(
    "request_",
    [
        MountRequest(MountKind.BIND, "/proc", source="/proc"),
        MountRequest(MountKind.BIND, "/proc/stat", source="/var/lib/lxcfs/proc/stat"),
        MountRequest(MountKind.BIND, "/proc/net/dev", source="/srv/dev"),
        MountRequest(MountKind.BIND, "/sys/fs/cgroup", source="/sys/fs/cgroup"),
        MountRequest(MountKind.TMPFS, "/sys/fs/cgroup"),
        MountRequest(MountKind.VOLUME, "/sys/fs/cgroup", source="v"),
        MountRequest(MountKind.VOLUME, "/process", source="v"),
        MountRequest(MountKind.VOLUME, "/srv/proc/self", source="v"),
    ],
)
def test_binds_that_runc_allows_over_the_kernels_files_are_allowed(request_: MountRequest) -> None:
    assert check_mount_request(request_) == request_


# One word of each group, in any order, or none.
GROUPS = [["", "rw", "ro"], ["", "z", "Z"], ["", "consistent", "cached", "delegated"], ["", "idmap"]]
modes = (
    st.tuples(*(st.sampled_from(group) for group in GROUPS))
    .flatmap(lambda words: st.permutations(words))
    .map(lambda words: ",".join(word for word in words if word))
)


@given(modes, st.sampled_from(["", *sorted(PROPAGATIONS)]), st.booleans())
def test_words_of_a_mode_come_in_any_order(mode: str, propagation: str, first: bool) -> None:
    words = [word for word in (mode, propagation) if word]
    bind = parse_bind("/h:/c:" + ",".join(words if first else reversed(words)))
    assert bind.read_only == ("ro" in mode.split(",")) and bind.propagation == propagation
    assert (bind.id_mapping is IdMapping.MATCH_USER) == ("idmap" in mode.split(","))
    volume = parse_bind("v:/c:" + ",".join(["nocopy", mode] if mode else ["nocopy"]))
    assert volume.no_copy and volume.read_only == bind.read_only


@given(modes.filter(bool))
def test_a_word_said_twice_is_refused(mode: str) -> None:
    word = mode.split(",")[0]
    with pytest.raises(Malformed, match="invalid mode"):
        parse_bind(f"/h:/c:{mode},{word}")


@given(st.text(max_size=30))
def test_any_volumes_from_is_parsed_or_refused(spec: str) -> None:
    try:
        container, read_only = parse_volumes_from(spec)
    except Malformed as refused:
        assert refused.why
        return
    assert parse_volumes_from(f"{container}:ro" if read_only else f"{container}:rw") == (container, read_only)


tmpfs_words = st.sampled_from(
    [
        *("rw", "ro", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "noatime", "relatime", "size=1m", "size=5%"),
        *("mode=1777", "uid=7", "gid=7", "nr_inodes=10", "sync", "private", "rslave", "mpol=default", ""),
    ]
)


@given(st.lists(tmpfs_words, max_size=8))
def test_of_tmpfs_words_of_a_kind_the_last_holds_and_merging_again_changes_nothing(words: list[str]) -> None:
    merged = parse_tmpfs_options(",".join(words))
    assert merge_tmpfs_options(merged) == merged or set(merge_tmpfs_options(merged)) == set(merged)
    for kinds in (("rw", "ro"), ("exec", "noexec"), ("suid", "nosuid"), ("dev", "nodev"), ("size=1m", "size=5%")):
        said = [word for word in words if word in kinds]
        if said:
            assert [word for word in merged if word in kinds] == [said[-1]]
    assert len(merged) == len(set(merged))


@given(st.text(max_size=30))
def test_any_tmpfs_options_are_parsed_or_refused(options: str) -> None:
    try:
        assert parse_tmpfs_options(options)
    except Malformed as refused:
        assert "invalid tmpfs option" in refused.why


@given(st.integers(1, 1 << 50))
def test_a_size_is_printed_without_loss_and_as_short_as_can_be(size_bytes: int) -> None:
    text = render_size(size_bytes)
    units = {"g": 1 << 30, "m": 1 << 20, "k": 1 << 10}
    unit = units.get(text[-1], 1)
    assert int(text.rstrip("gmk")) * unit == size_bytes
    assert all(size_bytes % larger for larger in units.values() if larger > unit)
    assert (render_size(64 << 20), render_size(3 << 30), render_size(1000), render_size(0)) == (
        "64m",
        "3g",
        "1000",
        "0",
    )


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
