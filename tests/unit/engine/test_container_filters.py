"""`docker ps --filter`."""

import pytest

from orlop.engine.container_filters import check_filters, select
from orlop.errors import Malformed
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.mount import Mount, MountKind


def make(
    name: str, created: int, state: ContainerState = ContainerState.RUNNING, code: int = 0, **more: str
) -> Container:
    finished = 0 if state in (ContainerState.RUNNING, ContainerState.CREATED) else created + 1
    return Container(
        id=name.encode().hex().ljust(64, "0"),
        name=name,
        created_at_ns=created,
        image_id=more.get("image", "sha256:a"),
        config=ContainerConfig(image="busybox", labels={"tier": more["tier"]} if "tier" in more else {}),
        host=HostConfig(network_mode=more.get("network", "default")),
        layer_id="l",
        mounts=(Mount(MountKind.VOLUME, "/data", "/v", volume=more["volume"]),) if "volume" in more else (),
        status=Status(state=state, exit_code=code, finished_at_ns=finished),
    )


ALL = [
    make("web-1", 1, tier="front"),
    make("web-2", 2, ContainerState.PAUSED, tier="back", network="none"),
    make("db", 3, ContainerState.EXITED, 137, volume="pg"),
    make("job", 4, ContainerState.EXITED, 0, image="sha256:b"),
    make("new", 5, ContainerState.CREATED),
]


def names(filters: dict[str, tuple[str, ...]], everything: bool = True, limit: int = 0) -> list[str]:
    check_filters(filters)
    by_name = {item.name: item for item in ALL}
    found = select(
        ALL,
        filters,
        everything,
        limit,
        by_name.__getitem__,
        lambda ref: {"sha256:b"} if ref == "other" else set(),
        lambda name: ("renamed", "pg") if name in ("renamed", "pg") else (),
    )
    return [item.name for item in found]


def test_newest_first_and_only_the_running_unless_asked() -> None:
    assert names({}, everything=False) == ["web-2", "web-1"]
    assert names({}) == ["new", "job", "db", "web-2", "web-1"]


def test_a_limit_counts_all_of_them() -> None:
    assert names({}, everything=False, limit=2) == ["new", "job"]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"status": ("paused", "created")}, ["new", "web-2"]),
        ({"name": ("web",)}, ["web-2", "web-1"]),
        ({"name": ("^/db$",)}, ["db"]),
        ({"name": ("[",)}, []),
        ({"label": ("tier",)}, ["web-2", "web-1"]),
        ({"label": ("tier=back",)}, ["web-2"]),
        ({"label!": ("tier",)}, ["new", "job", "db"]),
        ({"exited": ("137",)}, ["db"]),
        ({"exited": ("0",)}, ["job"]),
        ({"ancestor": ("other",)}, ["job"]),
        ({"ancestor": ("busybox",), "name": ("db",)}, ["db"]),
        ({"before": ("db",)}, ["web-2", "web-1"]),
        ({"since": ("db",)}, ["new", "job"]),
        ({"volume": ("pg",)}, ["db"]),
        ({"volume": ("/data",)}, ["db"]),
        ({"volume": ("p",)}, []),
        ({"volume": ("renamed",)}, ["db"]),
        ({"network": ("none",)}, ["web-2"]),
        ({"network": ("bridge",), "status": ("running",)}, ["web-1"]),
        ({"is-task": ("true",)}, []),
        ({"id": (ALL[0].id[:8],)}, ["web-2", "web-1"]),
    ],
)
def test_filters(filters: dict[str, tuple[str, ...]], wanted: list[str]) -> None:
    assert names(filters) == wanted


@pytest.mark.parametrize("filters", [{"colour": ("red",)}, {"status": ("asleep",)}, {"exited": ("often",)}])
def test_what_makes_no_sense_is_refused(filters: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(Malformed, match="invalid filter"):
        check_filters(filters)
