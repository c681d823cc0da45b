"""Several hosts as a story: one tree that two of them write at once, and a ledger that one of them writes at a time,
which goes on within seconds on the other one when its host loses its power.

The hosts are namespaces of this machine, with a network of their own. All that is made is taken down at the end,
however that comes.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from demo.telling import NotTrue, promise, say, show
from support.daemon import docker_commands, wait_for
from support.hosts import Host, Hosts
from support.images import write_busybox_tar
from support.leaks import find_leaks
from support.shared_tree import SharedTree, give_secrets, shared_tree

LEASE_SECONDS = 6
LINES = 40
# Appending is not one step on a file system of several hosts, making a directory is.
SCRIBE = f"""
n=0
while [ $n -lt {LINES} ]; do
  n=$((n + 1))
  until mkdir /t/lock 2>/dev/null; do usleep 5000; done
  echo "$WHO $n" >> /t/log; rmdir /t/lock
  usleep 20000
done
sleep 9999
"""
# Each start takes the number after the newest that it finds. It says that a record is kept once the disk has it.
LEDGER = """
echo >> /d/ledger || exit 1
last=$(grep -aE '^[0-9]+ [0-9]+$' /d/ledger | tail -n 1 | cut -d ' ' -f 1)
mine=$((${last:-0} + 1)) n=0
while :; do
  n=$((n + 1))
  echo "$mine $n" >> /d/ledger && sync /d/ledger || exit 1
  echo "kept $mine $n"
done
"""


def main() -> int:
    if os.geteuid() != 0:
        print("a container engine needs root: sudo script/demo cluster", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="orlop-demo-"))
    try:
        with ExitStack() as lasting:
            lasting.callback(shutil.rmtree, place, ignore_errors=True)
            play(lasting, place)
    except (NotTrue, AssertionError) as error:
        print(f"\n  NOT TRUE: {error}\n\nThe demo failed.", flush=True)
        return 1
    say(f"All as promised, in {time.monotonic() - begin:.0f} seconds.")
    return 0


def play(lasting: ExitStack, place: Path) -> None:
    say("Two hosts on one network. Beside them: etcd (three members), Redis, S3 storage, and a SAN.")
    hosts = lasting.enter_context(everything(place))
    tree = lasting.enter_context(shared_tree(hosts, place))
    lasting.callback(let_go, hosts)
    a, b = join(hosts, place)
    share_a_tree(a, b, tree)
    keep_a_ledger(hosts, a, b)
    lose_a_host(a, b)
    come_back(a, b)


@contextmanager
def everything(place: Path) -> Iterator[Hosts]:
    versions = docker_commands()
    hosts = Hosts(place, next(iter(versions.values()), None))
    try:
        hosts.etcd.start()
        hosts.san.start()
        yield hosts
    finally:
        be_patient()
        hosts.close()
        members = hosts.members.values()
        if left := [line for host in members for line in find_leaks([host.data_root, host.exec_root], host.bridge)]:
            raise NotTrue("left behind:\n" + "\n".join(left))


def be_patient() -> None:
    """Whoever interrupts once more now would leave something behind."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def let_go(hosts: Hosts) -> None:
    """Of the storage, while it is there."""
    be_patient()
    members = list(hosts.members.values())
    for host in members:
        with suppress(AssertionError):  # the first trouble is the one to be told
            if not host.is_on:
                host.power_on()
            if not host.is_running:
                host.start()
            if containers := host.docker("ps", "-aq").stdout.split():
                host.docker("rm", "-f", *containers, code=None)
    for host in members:
        with suppress(AssertionError):
            for volume in host.docker("volume", "ls", "-q").stdout.split():
                where = ["volume", "where", volume, "--format", "json"]
                wait_for("the end of its use", lambda: not host.orlop(*where, code=None).stdout, 10)


def join(hosts: Hosts, place: Path) -> tuple[Host, Host]:
    say("On each a daemon, which is told where etcd is, and what its host is called.")
    image = write_busybox_tar(place / "busybox.tar")
    a, b = (hosts.add(name, "--cluster-lease", f"{LEASE_SECONDS}s") for name in ("a", "b"))
    for host in (a, b):
        print(f"  {host.name}$ orlop daemon {' '.join(host.arguments)}", flush=True)
        host.start()
        host.docker("import", image, "busybox")
        give_secrets(host)
    wait_for("both nodes", lambda: a.orlop("node", "ls", "-q").stdout.split() == ["a", "b"])
    show(a, "orlop", "node", "ls")
    return a, b


def share_a_tree(a: Host, b: Host, tree: SharedTree) -> None:
    say("A volume is made on a: a file system with its names in Redis and its bytes in S3. b knows it at once.")
    show(a, "docker", "volume", "create", *tree.options, "tree")
    wait_for("the news", lambda: "tree" in b.docker("volume", "ls", "-q").stdout.split())
    show(b, "docker", "volume", "ls")

    say("A container on each host appends to one file in it.")
    for host in (a, b):
        wish = ["--name", "scribe", "-e", f"WHO={host.name}", "-v", "tree:/t", "busybox", "sh", "-c", SCRIBE]
        host.docker("run", "-d", *wish)
        print(f"  {host.name}$ docker run -d --name scribe -v tree:/t busybox ...", flush=True)
    for host in (a, b):
        wait_for("lines", lambda: all(lines(host, each)[-1:] == [LINES] for each in "ab"), 60)
    show(a, "docker", "exec", "scribe", "tail", "-n", "4", "/t/log")
    for host in (a, b):
        is_whole = all(lines(host, each) == list(range(1, LINES + 1)) for each in "ab")
        promise(f"{host.name} sees the {LINES} lines of each, none lost, none torn", is_whole)
    show(a, "orlop", "volume", "where", "tree")
    show(a, "docker", "rm", "-f", "scribe")
    wait_for("the end of its use", lambda: '"a"' not in a.orlop("volume", "where", "tree", "--format", "json").stdout)
    promise("a does not remove what b uses", "node b" in show(a, "docker", "volume", "rm", "tree", code=1).stderr)


def lines(host: Host, who: str) -> list[int]:
    text = host.docker("exec", "scribe", "cat", "/t/log", code=None).stdout
    return [int(n) for n in re.findall(rf"^{who} (\d+)$", text, re.MULTILINE)]


def keep_a_ledger(hosts: Hosts, a: Host, b: Host) -> None:
    say("A device of the SAN bears one host at a time. A ledger on a writes to it, and says what the disk has.")
    hosts.san.lun(1, 256 << 20)
    options = [word for key, value in hosts.san.options().items() for word in ("-o", f"{key}={value}")]
    show(a, "docker", "volume", "create", "-d", "san", *options, "books")
    wait_for("the news", lambda: "books" in b.docker("volume", "ls", "-q").stdout.split())
    a.docker("run", "-d", "--name", "ledger", "-v", "books:/d", "busybox", "sh", "-c", LEDGER)
    print("  a$ docker run -d --name ledger -v books:/d busybox ...", flush=True)
    wait_for("records", lambda: len(kept(a)) > 50, 60)
    say("b is told who writes, and what it can do.")
    refused = show(b, "docker", "run", "--rm", "-v", "books:/d", "busybox", "true", code=125)
    promise("the answer names the host", "node a writes to it since" in refused.stderr)


def kept(host: Host) -> list[tuple[int, int]]:
    """What its ledger said to be kept, as it stands on the host's own disk."""
    said = [log.read_text(errors="replace") for log in host.data_root.glob("containers/*/*log*") if log.is_file()]
    return [(int(mine), int(n)) for text in said for mine, n in re.findall(r"kept (\d+) (\d+)", text)]


def lose_a_host(a: Host, b: Host) -> None:
    say(f"Host a loses its power, in the middle of it. Its lease of {LEASE_SECONDS} seconds runs out by itself.")
    a.power_off()
    dead_at = time.monotonic()
    mount = "type=volume,src=books,dst=/d,volume-opt=wait=60s"
    print(f"  b$ docker run -d --name ledger --mount {mount} busybox ...", flush=True)
    b.docker("run", "-d", "--name", "ledger", "--mount", mount, "busybox", "sh", "-c", LEDGER, timeout=90)
    wait_for("a record", lambda: kept(b), 60)
    print(f"\n  \033[1mThe ledger goes on, on b, {time.monotonic() - dead_at:.1f} seconds after.\033[0m\n", flush=True)
    there = re.findall(r"^(\d+) (\d+)$", b.docker("exec", "ledger", "cat", "/d/ledger").stdout, re.MULTILINE)
    records = [(int(mine), int(n)) for mine, n in there]
    said = kept(a)
    promise(f"each of the {len(said)} records that a said to be kept is there", set(said) <= set(records))
    promise("those of b stand behind all of a's", records == sorted(records) and records[-1][0] == 2)
    show(b, "docker", "exec", "scribe", "sh", "-c", "echo a is gone >> /t/log; tail -n 2 /t/log")
    promise("the shared tree goes on, with all that a wrote", len(lines(b, "a")) == LINES)


def come_back(a: Host, b: Host) -> None:
    say("Host a comes back. It is not the writer any more, and knows it.")
    a.power_on()
    a.start()
    refused = show(a, "docker", "start", "ledger", code=1)
    promise("the answer names the host", "node b writes to it since" in refused.stderr)
    count = len(kept(b))
    wait_for("records", lambda: len(kept(b)) > count)
    promise("the ledger on b goes on undisturbed", b.inspect("container", "ledger")["State"]["Running"])
    show(b, "orlop", "volume", "where", "books")


if __name__ == "__main__":
    sys.exit(main())
