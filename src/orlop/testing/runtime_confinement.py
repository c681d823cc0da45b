"""What a runtime lets a container do and see, as Docker's users expect it: the second half of the contract suite of
runtime drivers. Derive from it as from orlop.testing.runtimes.RuntimeContract."""

import json
import os
import resource
import secrets
import signal
from pathlib import Path

import pytest

from orlop.drivers.runtimes.driver import BundleMount, Runtime
from orlop.errors import Malformed, OrlopError
from orlop.model.container import Device, Resources, Ulimit
from orlop.testing.runtime_box import Box
from orlop.testing.runtimes import RuntimeFixtures

DOCKERS_CAPABILITIES = "00000000a80425fb"
NO_CAPABILITIES = "0000000000000000"
MIB = 1 << 20


def status(box: Box, field: str, **wishes: object) -> str:
    return box.shell(f"grep ^{field}: /proc/self/status", **wishes).split()[1]


class RuntimeConfinement(RuntimeFixtures):
    """Method names are the promises."""

    # Capabilities

    def test_the_capabilities_are_dockers(self, box: Box) -> None:
        for field in ("CapBnd", "CapPrm", "CapEff"):
            assert status(box, field) == DOCKERS_CAPABILITIES
        for field in ("CapInh", "CapAmb"):
            assert status(box, field) == NO_CAPABILITIES

    def test_an_exec_has_the_same_capabilities(self, box: Box) -> None:
        running = box.exec(box.sleeper().container_id, "grep", "CapEff", "/proc/self/status")
        assert running.output()[0].split()[1].decode() == DOCKERS_CAPABILITIES

    def test_a_user_has_none(self, box: Box) -> None:
        assert status(box, "CapEff", uid=1000, gid=1000) == NO_CAPABILITIES

    def test_capabilities_are_added_and_dropped(self, box: Box) -> None:
        default = int(DOCKERS_CAPABILITIES, 16)
        net_admin, chown = 1 << 12, 1 << 0
        changed = status(box, "CapEff", cap_add=("NET_ADMIN",), cap_drop=("CAP_CHOWN",))
        assert int(changed, 16) == (default | net_admin) & ~chown
        assert status(box, "CapEff", cap_drop=("ALL",)) == NO_CAPABILITIES
        assert int(status(box, "CapEff", cap_drop=("all",), cap_add=("chown",)), 16) == chown

    def test_a_privileged_container_has_all_that_the_host_has(self, box: Box) -> None:
        own = Path("/proc/self/status").read_text().split("CapBnd:")[1].split()[0]
        assert status(box, "CapEff", privileged=True, seccomp="unconfined") == own

    def test_an_unknown_capability_is_malformed(self, box: Box) -> None:
        with pytest.raises(Malformed, match="CAP_FLY"):
            box.create(box.bundle("true", cap_add=("FLY",)))

    def test_no_new_privileges_is_kept(self, box: Box) -> None:
        assert status(box, "NoNewPrivs", no_new_privileges=True) == "1"
        assert status(box, "NoNewPrivs") == "0"

    # System calls

    def test_system_calls_are_filtered(self, box: Box) -> None:
        assert status(box, "Seccomp") == "2"
        assert "Operation not permitted" in box.shell("unshare -m true 2>&1 || true")
        # Refused by the filter, not for want of the capability.
        assert "Operation not permitted" in box.shell("unshare -U true 2>&1 || true")

    def test_an_exec_is_filtered_too(self, box: Box) -> None:
        running = box.exec(box.sleeper().container_id, "sh", "-c", "grep Seccomp: /proc/self/status; unshare -U true")
        out, err = running.output()
        assert out.split()[1] == b"2"
        assert b"Operation not permitted" in err

    def test_unconfined_is_unfiltered(self, box: Box) -> None:
        assert status(box, "Seccomp", seccomp="unconfined") == "0"
        box.shell("unshare -U true", seccomp="unconfined")

    def test_a_profile_of_the_users_holds(self, box: Box) -> None:
        profile = json.dumps(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30},
                    {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "excludes": {"caps": ["CAP_CHOWN"]}},
                ],
            }
        )
        assert "Read-only file system" in box.shell("mkdir /tmp/x 2>&1 || true", seccomp=profile)
        box.shell("unshare -U true", seccomp=profile)

    @pytest.mark.parametrize("profile", ["{", "[]", "{}", '{"defaultAction": "SCMP_ACT_FLY"}'])
    def test_a_wrong_profile_is_malformed_and_runs_nothing(self, box: Box, profile: str) -> None:
        with pytest.raises(Malformed, match="seccomp profile"):
            box.create(box.bundle("true", seccomp=profile))

    # What of the host is seen

    def test_masked_paths_show_nothing(self, box: Box) -> None:
        assert box.shell("cat /proc/kcore /proc/keys /proc/timer_list | wc -c; ls /sys/firmware | wc -l") == "0\n0\n"

    def test_readonly_paths_cannot_be_written(self, box: Box) -> None:
        said = box.shell("echo 1 2>&1 > /proc/sys/kernel/panic || true; mount | grep ' /proc/sys '")
        assert "(ro," in said

    def test_a_privileged_container_sees_all(self, box: Box) -> None:
        mounts = box.shell("cat /proc/mounts", privileged=True, seccomp="unconfined")
        assert " /proc/sys " not in mounts
        assert any(line.split()[1] == "/sys" and "rw" in line.split()[3].split(",") for line in mounts.splitlines())

    def test_the_wanted_paths_are_masked_instead(self, box: Box) -> None:
        mounts = box.shell("cat /proc/mounts", masked_paths=("/proc/version",), readonly_paths=())
        assert "/proc/version" in mounts
        assert "/proc/kcore" not in mounts
        assert "/proc/sys" not in mounts

    def test_nothing_of_the_daemon_leaks_in(self, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ORLOP_SECRET", "hidden")
        monkeypatch.setenv("LD_PRELOAD", "")
        read_end, write_end = os.pipe()
        os.set_inheritable(write_end, True)
        try:
            said = box.shell("env; ls /proc/self/fd", env=("PATH=/bin", "A=b c"))
        finally:
            os.close(read_end)
            os.close(write_end)
        lines = said.split("\n")
        # HOME is the runtime's, PWD and SHLVL the shell's; 3 is the directory that ls reads.
        assert {line for line in lines if "=" in line} <= {"PATH=/bin", "A=b c", "HOME=/root", "PWD=/", "SHLVL=1"}
        assert [line for line in lines if line.isdigit()] == ["0", "1", "2", "3"]

    def test_the_daemons_umask_is_not_the_containers(self, box: Box) -> None:
        before = os.umask(0o077)
        try:
            name = secrets.token_hex(4)
            said = box.shell(f"umask; stat -c %a /{name}", cwd=f"/{name}")  # the runtime makes the directory
            running = box.exec(box.sleeper().container_id, "sh", "-c", "umask")
        finally:
            os.umask(before)
        assert said.split() == ["0022", "755"]
        assert running.output()[0] == b"0022\n"

    # Identity

    def test_user_groups_and_directory_are_as_wished(self, box: Box) -> None:
        said = box.shell("id -u; id -g; id -G; pwd", uid=1000, gid=1001, additional_gids=(26, 27), cwd="/var/log")
        assert said.splitlines() == ["1000", "1001", "1001 26 27", "/var/log"]

    def test_host_and_domain_are_named(self, box: Box) -> None:
        said = box.shell("hostname; cat /proc/sys/kernel/domainname", hostname="db-1", domainname="example.test")
        assert said.split() == ["db-1", "example.test"]

    def test_the_first_process_is_number_one_unless_the_host_is_shared(self, box: Box) -> None:
        assert box.shell("echo $$") == "1\n"
        assert box.shell("echo $$", pid_namespace="host") != "1\n"

    def test_namespaces_are_its_own_or_the_hosts(self, box: Box) -> None:
        for kind, field in (("net", "network"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")):
            host = Path(f"/proc/self/ns/{kind}").readlink()
            script = f"readlink /proc/self/ns/{kind}"
            assert box.shell(script).strip() != str(host)
            assert box.shell(script, **{f"{field}_namespace": "host"}).strip() == str(host)

    def test_a_namespace_is_joined_by_its_path(self, box: Box) -> None:
        first = box.sleeper()
        path = f"/proc/{first.process.pid}/ns/net"
        joined = box.shell("readlink /proc/self/ns/net", network_namespace=path).strip()
        assert joined == str(Path(path).readlink())

    def test_who_shares_the_hosts_ipc_shares_its_memory(self, box: Box) -> None:
        note = Path("/dev/shm") / f"orlop-test-{secrets.token_hex(8)}"  # noqa: S108
        note.write_text("seen")
        try:
            assert box.shell(f"cat {note}", ipc_namespace="host") == "seen"
            assert "No such file" in box.shell(f"cat {note} 2>&1 || true")
        finally:
            note.unlink()

    def test_a_new_network_has_only_lo_and_it_is_up(self, box: Box) -> None:
        assert box.shell("ls /sys/class/net") == "lo\n"
        assert "LOOPBACK,UP" in box.shell("ip link show lo")

    def test_an_init_reaps_and_passes_signals_on(self, box: Box) -> None:
        running = box.start("sh", "-c", "trap 'exit 7' TERM; echo up $$; while :; do sleep 0.1; done", init=True)
        assert running.read_until(b"up") != b"up 1\n"
        box.runtime.signal(running.container_id, running.process.pid, signal.SIGTERM)
        assert running.wait().exit_code == 7

    # Files

    def test_mounts_are_made_in_order_with_their_options(self, box: Box) -> None:
        data, inner = box.directory / "data", box.directory / "inner"
        data.mkdir()
        inner.mkdir()
        (inner / "file").write_text("seen")
        # A new directory each time: runc gives a tmpfs the mode of the directory it covers, if there was one.
        scratch = f"/scratch-{secrets.token_hex(4)}"
        mounts = (
            BundleMount("/mnt", str(data), "bind", ("rbind", "rw")),
            BundleMount("/mnt/in", str(inner), "bind", ("rbind", "ro")),
            BundleMount(scratch, "tmpfs", "tmpfs", ("size=1m", "mode=1770")),
        )
        said = box.shell(
            "echo new > /mnt/note; cat /mnt/in/file; echo x 2>/dev/null > /mnt/in/file || echo ' refused'"
            f"; stat -c %a {scratch}; df -m {scratch} | tail -1",
            mounts=mounts,
        )
        assert said.startswith("seen refused\n1770\n")
        assert said.split()[4] == "1"
        assert (data / "note").read_text() == "new\n"

    def test_a_readonly_root_cannot_be_written_but_its_mounts_can(self, box: Box) -> None:
        said = box.shell("touch /x 2>&1 || true; touch /dev/shm/y && echo fine", readonly_rootfs=True)
        assert "Read-only file system" in said
        assert "fine" in said

    def test_shared_memory_has_the_wanted_size(self, box: Box) -> None:
        assert box.shell("df -m /dev/shm | tail -1").split()[1] == "64"
        assert box.shell("df -m /dev/shm | tail -1", shm_size_bytes=5 * MIB).split()[1] == "5"

    def test_what_the_user_mounts_replaces_the_default(self, box: Box) -> None:
        mounts = (BundleMount("/dev/shm", "tmpfs", "tmpfs", ("size=3m",)),)  # noqa: S108
        said = box.shell("grep -c ' /dev/shm ' /proc/mounts; df -m /dev/shm | tail -1", mounts=mounts)
        assert said.split()[:3:2] == ["1", "3"]

    def test_the_usual_devices_work_and_others_do_not(self, box: Box) -> None:
        box.shell("echo x > /dev/null; head -c 1 /dev/zero; head -c 1 /dev/urandom > /dev/null; test -c /dev/tty")
        said = box.shell("mknod /dev/mem b 1 1 2>&1; mknod /dev/kmsg2 c 1 11; cat /dev/kmsg2 2>&1 || true")
        assert "Operation not permitted" in said

    def test_a_device_of_the_host_is_passed_in(self, box: Box) -> None:
        device = Device("/dev/zero", "/dev/other", "r")
        said = box.shell("ls -l /dev/other; head -c 3 /dev/other | wc -c", devices=(device,))
        assert "1,   5" in said
        assert said.endswith("3\n")

    def test_a_device_that_is_missing_is_named(self, box: Box) -> None:
        with pytest.raises(OrlopError, match="/dev/nosuch"):
            box.create(box.bundle("true", devices=(Device("/dev/nosuch", "/dev/x"),)))

    def test_sysctls_are_set(self, box: Box) -> None:
        said = box.shell("cat /proc/sys/net/core/somaxconn", sysctls={"net.core.somaxconn": "77"})
        assert said == "77\n"

    def test_anybody_may_listen_on_a_low_port_and_ping(self, box: Box) -> None:
        said = box.shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range")
        assert said.split() == ["0", "0", "2147483647"]

    def test_cgroups_of_the_containers_own_making_go_with_it(self, box: Box) -> None:
        script = "for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir -p $tree/own/deeper 2>/dev/null; done; true"
        ended = box.start("sh", "-c", script, privileged=True, seccomp="unconfined")
        ended.wait()
        running = box.start("sh", "-c", f"{script}; echo up; sleep 1000", privileged=True, seccomp="unconfined")
        running.read_until(b"up")
        for each in (ended, running):
            box.runtime.delete(each.container_id)
            # Others come and go while it is gone through, which os.walk bears and a glob does not.
            left = [top for top, _, _ in os.walk("/sys/fs/cgroup") if each.container_id in top]
            assert not left

    # Limits

    def test_limits_are_in_force(self, box: Box) -> None:
        wanted = Resources(memory_bytes=64 * MIB, pids_limit=17, cpu_shares=512, nano_cpus=500_000_000)
        running = box.sleeper(resources=wanted)
        assert _limits_of(running.process.pid) == {"memory": 64 * MIB, "pids": 17, "cpu": (50_000, 100_000)}

    def test_a_container_over_its_memory_is_said_to_be_so(self, box: Box) -> None:
        running = box.start(
            "sh",
            "-c",
            "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done",
            resources=Resources(memory_bytes=24 * MIB),
        )
        running.output()
        ended = running.wait()
        assert (ended.exit_code, ended.oom_killed) == (137, True)

    def test_the_number_of_processes_is_limited(self, box: Box) -> None:
        said = box.shell(
            "(for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done) 2>&1 || true", resources=Resources(pids_limit=6)
        )
        assert "fork" in said

    def test_ulimits_are_set(self, box: Box) -> None:
        assert box.shell("ulimit -n; ulimit -Hn", rlimits=(Ulimit("nofile", 100, 200),)).split() == ["100", "200"]

    def test_a_ulimit_that_the_host_cannot_give_is_lowered_and_said(self, box: Box, runtime: Runtime) -> None:
        ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = (Ulimit("nofile", 1 << 29, 1 << 29),)
        warnings = runtime.shortfalls(Resources(), wanted)
        given = int(box.shell("ulimit -n", rlimits=wanted))
        assert given == (ceiling if warnings else 1 << 29)
        assert not warnings or str(ceiling) in warnings[0]

    def test_what_the_host_can_give_needs_no_warning(self, runtime: Runtime) -> None:
        assert not runtime.shortfalls(Resources(), (Ulimit("nofile", 100, 100),))


def _limits_of(pid: int) -> dict[str, object]:
    """As the kernel has them, whatever the version of cgroups."""
    paths = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    root = Path("/sys/fs/cgroup")
    if "memory" not in paths:
        own = root / paths[""].lstrip("/")
        quota, period = (own / "cpu.max").read_text().split()
        memory, pids = (own / "memory.max").read_text(), (own / "pids.max").read_text()
        return {"memory": int(memory), "pids": int(pids), "cpu": (int(quota), int(period))}

    def read(controller: str, file: str) -> int:
        name = next(name for name in paths if controller in name.split(","))
        return int((root / controller / paths[name].lstrip("/") / file).read_text())

    cpu = (read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us"))
    return {"memory": read("memory", "memory.limit_in_bytes"), "pids": read("pids", "pids.max"), "cpu": cpu}
