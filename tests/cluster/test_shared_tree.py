"""One tree, containers on two hosts that write to it at once."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from support.daemon import wait_for
from support.etcd_members import needs_etcd
from support.hosts import Host, Hosts
from support.iscsi_target import needs_san
from support.shared_tree import SharedTree, give_secrets

pytestmark = [needs_etcd, needs_san]

LINES = 60
# To append is not one step on a file system of several hosts; to make a directory is.
APPEND = f"""
touch /t/here-$WHO
until [ -e /t/here-a ] && [ -e /t/here-b ]; do usleep 5000; done
n=0
while [ $n -lt {LINES} ]; do
  n=$((n + 1))
  until mkdir /t/lock 2>/dev/null; do usleep 2000; done
  echo "$WHO $n" >> /t/log && rmdir /t/lock || exit 1
done
touch /t/done-$WHO
sleep 9999
"""


@pytest.fixture(scope="module")
def pair(hosts: Hosts, busybox_tar: Path) -> tuple[Host, Host]:
    made = [hosts.add(name) for name in ("a", "b")]
    for host in made:
        host.start()
        host.docker("import", busybox_tar, "busybox")
        give_secrets(host)
    return made[0], made[1]


@pytest.fixture
def volume(tree: SharedTree, pair: tuple[Host, Host]) -> Iterator[str]:
    """Both know it; at the end nobody does. The tree itself stays."""
    a, b = pair
    a.docker("volume", "create", *tree.options, "tree")
    wait_for("the news", lambda: names(b) == ["tree"])
    yield "tree"
    for host in pair:
        host.revive()
    wait_for("the end of all use", lambda: not a.orlop("volume", "where", "tree", "--format", "json").stdout)
    a.docker("volume", "rm", "tree")
    wait_for("the news", lambda: names(b) == [])


def names(host: Host) -> list[str]:
    return host.docker("volume", "ls", "-q").stdout.split()


def test_two_containers_on_two_hosts_append_to_one_volume_and_both_see_all(
    pair: tuple[Host, Host], volume: str
) -> None:
    for host in pair:
        wish = ["--name", "writer", "-e", f"WHO={host.name}", "-v", f"{volume}:/t", "busybox", "sh", "-c", APPEND]
        host.docker("run", "-d", *wish)
    for host in pair:
        is_done = ["exec", "writer", "ls", "/t/done-a", "/t/done-b"]
        wait_for("the last line", lambda: host.docker(*is_done, code=None).returncode == 0, 60)  # noqa: B023
    seen = [host.docker("exec", "writer", "cat", "/t/log").stdout for host in pair]
    assert seen[0] == seen[1]
    lines = [(who, int(n)) for who, n in map(str.split, seen[0].splitlines())]
    assert sorted(lines) == list(product("ab", range(1, LINES + 1)))
    for each in "ab":
        assert [n for who, n in lines if who == each] == list(range(1, LINES + 1)), "in the order in which it wrote"


def test_what_a_host_closed_before_its_power_went_is_there_and_the_other_goes_on(
    pair: tuple[Host, Host], volume: str
) -> None:
    a, b = pair
    for host in pair:
        host.docker("run", "-d", "--name", "user", "-v", f"{volume}:/t", "busybox", "sleep", "9999")
    a.docker("exec", "user", "sh", "-c", "echo from a > /t/note")
    a.power_off()
    assert b.docker("exec", "user", "cat", "/t/note").stdout == "from a\n"
    b.docker("exec", "user", "sh", "-c", "echo from b >> /t/note")
    a.power_on()
    a.start()
    a.docker("start", "user")
    assert a.docker("exec", "user", "cat", "/t/note").stdout == "from a\nfrom b\n"
