"""Precedence, duplicates and order of mounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orlop.errors import Malformed
from orlop.model.container import HostConfig
from orlop.model.mount import IdMapping, Mount, MountKind, MountOrigin, MountRequest
from orlop.model.mount_spec import clean_path, parse_bind
from orlop.model.volume import Volume
from orlop.planning.mounts import inherit_mounts, is_below_read_only, plan_mount, resolve_mounts, settle_propagation

DATA = Volume("data", "1" * 64, "local", 0, "/root/volumes/data/_data")


def volume_mount(destination: str, name: str = "data", **more: object) -> Mount:
    return Mount(MountKind.VOLUME, destination, "/root/volumes/data/_data", volume=name, **more)  # type: ignore[arg-type]


def by_destination(*requests: MountRequest) -> dict[str, MountRequest]:
    return {request.destination: request for request in requests}


def test_bind_replaces_an_inherited_mount() -> None:
    found = by_destination(*resolve_mounts(HostConfig(mounts=(parse_bind("/srv:/d"),)), (), [volume_mount("/d")]))
    assert found["/d"].kind is MountKind.BIND


def test_the_last_of_volumes_from_wins() -> None:
    found = by_destination(*resolve_mounts(HostConfig(), (), [volume_mount("/d", "a"), volume_mount("/d", "b")]))
    assert found["/d"].source == "b"


@pytest.mark.parametrize(
    "host",
    [
        HostConfig(mounts=(parse_bind("a:/d"), parse_bind("b:/d/"))),
        HostConfig(mounts=(parse_bind("a:/d"), MountRequest(MountKind.VOLUME, "/d", source="b"))),
        HostConfig(mounts=(MountRequest(MountKind.TMPFS, "/d"), MountRequest(MountKind.VOLUME, "/d", source="b"))),
        HostConfig(mounts=(parse_bind("a:/d"),), tmpfs={"/d": ""}),
        HostConfig(mounts=(MountRequest(MountKind.VOLUME, "/d", source="a"),), tmpfs={"/d/": ""}),
    ],
)
def test_two_mounts_at_one_place_are_refused(host: HostConfig) -> None:
    with pytest.raises(Malformed, match="Duplicate mount point: /d"):
        resolve_mounts(host, ())


def test_an_image_volume_gives_way_to_everything_the_user_asked_for() -> None:
    host = HostConfig(mounts=(parse_bind("a:/d"),), tmpfs={"/t": "size=1m"})
    found = by_destination(*resolve_mounts(host, ("/d", "/t", "/own", "/own/"), [volume_mount("/i")]))
    assert found["/d"].source == "a"
    assert found["/t"].kind is MountKind.TMPFS
    assert (found["/own"].source, found["/own"].origin) == ("", MountOrigin.CONFIG)
    assert set(found) == {"/d", "/t", "/own", "/i"}


def test_an_image_volume_that_is_no_path_is_refused_and_named() -> None:
    with pytest.raises(Malformed, match="invalid volume specification: 'relative'"):
        resolve_mounts(HostConfig(), ("relative",))


def test_volumes_from_can_only_take_writing_away() -> None:
    source = [volume_mount("/rw"), volume_mount("/ro", read_only=True)]
    assert [mount.read_only for mount in inherit_mounts(source, read_only=False)] == [False, True]
    assert [mount.read_only for mount in inherit_mounts(source, read_only=True)] == [True, True]


def test_an_inherited_anonymous_volume_stays_anonymous_and_is_not_copied_to() -> None:
    (request,) = resolve_mounts(HostConfig(), (), [volume_mount("/d", anonymous=True)])
    mount = plan_mount(request, DATA)
    assert mount.anonymous and not mount.copy_up and mount.origin is MountOrigin.VOLUMES_FROM


def test_a_named_volume_is_not_anonymous_even_when_its_name_looks_so() -> None:
    (request,) = resolve_mounts(HostConfig(mounts=(parse_bind(f"{'a' * 64}:/d"),)), ())
    assert not plan_mount(request, DATA).anonymous
    (request,) = resolve_mounts(HostConfig(), ("/d",))
    assert plan_mount(request, DATA).anonymous


def test_propagation_defaults_to_private_for_binds_only() -> None:
    bind, volume = resolve_mounts(HostConfig(mounts=(parse_bind("/srv:/a"), parse_bind("data:/b"))), ())
    assert plan_mount(bind).propagation == "rprivate"
    assert plan_mount(volume, DATA).propagation == ""
    assert plan_mount(volume, DATA).mode == "z"


segments = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=4)


@given(st.sets(segments.map(lambda parts: "/" + "/".join(parts)), max_size=8))
def test_a_mount_always_comes_after_those_it_lies_in(destinations: set[str]) -> None:
    order = [request.destination for request in resolve_mounts(HostConfig(), tuple(destinations))]
    for number, destination in enumerate(order):
        assert not any(earlier.startswith(destination + "/") for earlier in order[:number])


def test_the_nearest_mount_decides_whether_a_path_may_be_written() -> None:
    mounts = [volume_mount("/a", read_only=True), volume_mount("/a/b")]
    assert is_below_read_only(mounts, "/a/x", readonly_rootfs=False)
    assert not is_below_read_only(mounts, "/a/b/x", readonly_rootfs=True)
    assert is_below_read_only(mounts, "/ab", readonly_rootfs=True)
    assert not is_below_read_only(mounts, "/ab", readonly_rootfs=False)


@pytest.mark.parametrize("source", ["/", "/var", "/var/lib/docker", "/var/lib/docker/volumes/x/_data"])
def test_binds_that_show_the_data_root_let_go_when_the_daemon_does(source: str) -> None:
    root = "/var/lib/docker"
    assert settle_propagation(parse_bind(f"{source}:/d"), root).propagation == "rslave"
    assert settle_propagation(parse_bind(f"{source}:/d:rshared"), root).propagation == "rshared"
    with pytest.raises(Malformed, match='must use either propagation mode "rslave" or "rshared"'):
        settle_propagation(parse_bind(f"{source}:/d:rprivate"), root)


@pytest.mark.parametrize("spec", ["/var/lib/docker2:/d:private", "/srv:/d", "data:/d"])
def test_other_mounts_keep_their_propagation(spec: str) -> None:
    request = parse_bind(spec)
    assert settle_propagation(request, "/var/lib/docker") == request


def test_volumes_from_takes_every_kind_with_all_that_belongs_to_it() -> None:
    source = [
        Mount(MountKind.IMAGE, "/i", "/layers/x", image="content", image_id="sha256:1", read_only=True, subpath="d"),
        Mount(MountKind.BIND, "/b", "/srv", propagation="rslave", non_recursive=True, create_source=True),
        Mount(MountKind.TMPFS, "/t", "", tmpfs_size_bytes=9, tmpfs_options=("exec",)),
        Mount(MountKind.TMPFS, "/own", "", origin=MountOrigin.TMPFS),
        volume_mount("/v", id_mapping=IdMapping.MATCH_USER, id_mapping_user="7", subpath="s"),
        volume_mount("/r", read_only=True, read_only_force_recursive=True),
    ]
    requests = by_destination(*resolve_mounts(HostConfig(), (), inherit_mounts(source, read_only=False)))
    assert set(requests) == {"/i", "/b", "/t", "/v", "/r"}, "--tmpfs is the container's own"
    image = plan_mount(requests["/i"])
    assert (image.image, image.image_id, image.read_only, image.subpath) == ("content", "sha256:1", True, "d")
    bind = plan_mount(requests["/b"])
    assert (bind.source, bind.propagation, bind.non_recursive) == ("/srv", "rslave", True)
    assert (requests["/t"].tmpfs_size_bytes, requests["/t"].tmpfs_options) == (9, ("exec",))
    volume = plan_mount(requests["/v"], DATA)
    assert (volume.id_mapping, volume.id_mapping_user, volume.subpath) == (IdMapping.MATCH_USER, "7", "s")
    assert plan_mount(requests["/r"], DATA).read_only_force_recursive


def test_an_image_is_read_only_whatever_is_said() -> None:
    (request,) = resolve_mounts(HostConfig(mounts=(MountRequest(MountKind.IMAGE, "/i", "img", read_only=False),)), ())
    mount = plan_mount(request)
    assert (mount.read_only, mount.image, mount.propagation, mount.mode) == (True, "img", "rprivate", "")


def test_a_duplicate_is_named_as_it_was_sent() -> None:
    twice = (parse_bind("a:/d"), MountRequest(MountKind.VOLUME, "/x/../d/", source="b"))
    with pytest.raises(Malformed) as refused:
        resolve_mounts(HostConfig(mounts=twice), ())
    assert refused.value.why == "Duplicate mount point: /x/../d/"


places = st.sampled_from(["/a", "/b", "/a/c", "/d/"])
asked = st.lists(st.tuples(st.sampled_from(["bind", "mount"]), places), max_size=4)


@given(st.lists(places, max_size=3), asked, st.lists(places, max_size=3), st.lists(places, max_size=2))
def test_who_wins_at_a_place(
    inherited: list[str], asked: list[tuple[str, str]], config: list[str], tmpfs: list[str]
) -> None:
    """Against the rule in one sentence each: memory over all, asked for over inherited, the image's own last."""
    wanted = [clean_path(place) for _, place in asked]
    memory = {clean_path(place) for place in tmpfs}
    requests = tuple(
        parse_bind(f"bind:{place}") if how == "bind" else MountRequest(MountKind.VOLUME, place, source="mount")
        for how, place in asked
    )
    host = HostConfig(mounts=requests, tmpfs=dict.fromkeys(tmpfs, ""))
    before = [volume_mount(clean_path(place), f"old{number}") for number, place in enumerate(inherited)]
    try:
        found = by_destination(*resolve_mounts(host, config, before))
    except Malformed as refused:
        assert refused.why.startswith("Duplicate mount point")
        assert len(set(wanted)) < len(wanted) or memory & set(wanted)
        return
    assert len(set(wanted)) == len(wanted) and not memory & set(wanted)
    last = {mount.destination: mount.volume for mount in before}
    for place, request in found.items():
        if place in memory:
            assert request.kind is MountKind.TMPFS
        elif place in wanted:
            assert request.source == asked[wanted.index(place)][0]
        elif place in last:
            assert request.source == last[place]
        else:
            assert request.origin is MountOrigin.CONFIG
    assert set(found) == {*wanted, *memory, *last, *map(clean_path, config)}
