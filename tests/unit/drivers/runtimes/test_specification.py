"""The config.json of a bundle: what stands in it, and what the user put there instead."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from orlop.drivers.runtimes.cgroups import CgroupLayout, cgroup_path, processes_in
from orlop.drivers.runtimes.driver import Bundle, BundleMount, Process
from orlop.drivers.runtimes.specification import render_bundle, render_process
from orlop.errors import Malformed
from orlop.model.container import Device, Resources, Ulimit

BUNDLE = Bundle(
    container_id="c" * 64,
    name="app",
    log_path=Path("/log"),
    rootfs=Path("/merged"),
    readonly_rootfs=False,
    process=Process(("sh", "-c", "true"), ("PATH=/bin",)),
    hostname="app",
)


def rendered(layout: CgroupLayout = CgroupLayout.UNIFIED, **changes: Any) -> dict[str, Any]:
    return render_bundle(dataclasses.replace(BUNDLE, **changes), ("CAP_CHOWN",), layout, None, {}, "/usr/bin/tini")


def destinations(document: dict[str, Any]) -> list[str]:
    return [mount["destination"] for mount in document["mounts"]]


def namespaces(document: dict[str, Any]) -> dict[str, str]:
    return {each["type"]: each.get("path", "") for each in document["linux"]["namespaces"]}


def test_the_default_mounts_come_first_and_the_users_in_their_order() -> None:
    wanted = (BundleMount("/b", "/x"), BundleMount("/a", "/y"))
    assert destinations(rendered(mounts=wanted)) == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/sys",
        "/sys/fs/cgroup",
        "/dev/mqueue",
        "/dev/shm",
        "/b",
        "/a",
    ]


def test_what_the_user_mounts_takes_the_place_of_the_default() -> None:
    assert destinations(rendered(mounts=(BundleMount("/dev/shm", "/x"),))).count("/dev/shm") == 1
    own_dev = destinations(rendered(mounts=(BundleMount("/dev", "/dev"),)))
    assert [each for each in own_dev if each.startswith("/dev")] == ["/dev"]


def test_namespaces_are_new_joined_or_the_hosts() -> None:
    assert namespaces(rendered()) == dict.fromkeys(("mount", "network", "pid", "ipc", "uts", "cgroup"), "")
    joined = namespaces(rendered(network_namespace="/run/netns/x", pid_namespace="host"))
    assert joined["network"] == "/run/netns/x"
    assert "pid" not in joined


def test_the_cgroup_namespace_is_private_on_v2_only_and_not_for_the_privileged() -> None:
    assert "cgroup" not in namespaces(rendered(CgroupLayout.HYBRID))
    privileged = dataclasses.replace(BUNDLE.process, privileged=True)
    assert "cgroup" not in namespaces(rendered(process=privileged))


def test_the_hosts_name_is_left_alone_where_its_namespace_is_shared() -> None:
    assert "hostname" not in rendered(uts_namespace="host")
    assert "kernel.domainname" not in rendered(uts_namespace="host", domainname="x")["linux"]["sysctl"]
    assert rendered(domainname="x")["linux"]["sysctl"]["kernel.domainname"] == "x"


def test_no_sysctl_touches_the_hosts_network() -> None:
    assert rendered(network_namespace="host")["linux"]["sysctl"] == {}


def test_the_users_sysctl_wins() -> None:
    wanted = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    assert rendered(sysctls=wanted)["linux"]["sysctl"]["net.ipv4.ip_unprivileged_port_start"] == "1024"


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (Resources(), {}),
        (Resources(memory_bytes=1 << 20), {"memory": {"limit": 1 << 20}}),
        (Resources(memory_swap_bytes=-1), {"memory": {"swap": -1}}),
        (Resources(nano_cpus=1_500_000_000), {"cpu": {"period": 100_000, "quota": 150_000}}),
        (Resources(cpu_period_us=50_000, cpu_quota_us=25_000), {"cpu": {"period": 50_000, "quota": 25_000}}),
        (Resources(cpuset_cpus="0-1", cpuset_mems="0"), {"cpu": {"cpus": "0-1", "mems": "0"}}),
        (Resources(pids_limit=-1), {}),
        (Resources(pids_limit=10), {"pids": {"limit": 10}}),
        (Resources(oom_kill_disable=True), {"memory": {"disableOOMKiller": True}}),
    ],
)
def test_limits_are_spelt_as_the_specification_does(resources: Resources, expected: dict[str, Any]) -> None:
    found = rendered(resources=resources)["linux"]["resources"]
    found.pop("devices")
    assert found == expected


def test_a_device_is_made_and_allowed() -> None:
    linux = rendered(devices=(Device("/dev/null", "/dev/nothing", "rw"),))["linux"]
    assert [each["path"] for each in linux["devices"]] == ["/dev/nothing"]
    assert linux["resources"]["devices"][-1] == {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}
    assert linux["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_a_shared_mount_makes_the_root_propagate() -> None:
    assert "rootfsPropagation" not in rendered()["linux"]
    slave = (BundleMount("/a", "/x", "bind", ("rbind", "rslave")),)
    shared = (*slave, BundleMount("/b", "/y", "bind", ("rbind", "rshared")))
    assert rendered(mounts=slave)["linux"]["rootfsPropagation"] == "rslave"
    assert rendered(mounts=shared)["linux"]["rootfsPropagation"] == "shared"


def test_an_init_goes_before_the_program() -> None:
    document = rendered(init=True)
    assert document["process"]["args"] == ["/sbin/docker-init", "--", "sh", "-c", "true"]
    assert document["mounts"][-1] == {
        "destination": "/sbin/docker-init",
        "source": "/usr/bin/tini",
        "type": "bind",
        "options": ["bind", "ro"],
    }


def test_a_process_says_only_what_is_wished() -> None:
    document = render_process(Process(("true",), (), cwd=""), ("CAP_KILL",))
    assert document["cwd"] == "/"
    assert document["capabilities"] == {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")}
    assert "oomScoreAdj" not in document
    assert "consoleSize" not in document


def test_a_process_with_everything() -> None:
    process = Process(
        ("true",),
        (),
        tty=True,
        console_height=10,
        console_width=20,
        oom_score_adj=0,
        rlimits=(Ulimit("nofile", 1, 2),),
        no_new_privileges=True,
    )
    document = render_process(process, ())
    assert document["consoleSize"] == {"height": 10, "width": 20}
    assert document["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}]
    assert document["oomScoreAdj"] == 0
    assert document["noNewPrivileges"]


def test_a_cgroup_is_below_its_parent() -> None:
    assert cgroup_path("id", "") == "/orlop/id"
    assert cgroup_path("id", "/batch/jobs/") == "/batch/jobs/id"


@pytest.mark.parametrize("parent", ["..", "/a/../../b", "../x"])
def test_a_cgroup_never_leaves_its_tree(parent: str) -> None:
    with pytest.raises(Malformed):
        cgroup_path("id", parent)


def test_a_joined_containers_sysctls_are_left_as_they_are() -> None:
    assert rendered(network_namespace="/proc/1/ns/net")["linux"]["sysctl"] == {}
    assert rendered(network_namespace="/run/netns/mine")["linux"]["sysctl"] != {}


def test_processes_of_cgroups_below_are_counted_too(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "cgroup.procs").write_text("1\n2\n")
    (tmp_path / "inner" / "cgroup.procs").write_text("3\n2\n")
    assert processes_in(tmp_path) == (1, 2, 3)
    assert processes_in(tmp_path / "gone") == ()
