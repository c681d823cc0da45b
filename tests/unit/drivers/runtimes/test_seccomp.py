"""From a profile to the rules a container gets: conditions decided, nothing left out in silence."""

import json
import platform
from typing import Any

import pytest

from orlop.drivers.runtimes.seccomp import section
from orlop.drivers.runtimes.security import DEFAULT_CAPABILITIES
from orlop.errors import Malformed


def profile(*rules: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **fields})


def rule(name: str, **fields: Any) -> dict[str, Any]:
    return {"names": [name], "action": "SCMP_ACT_ALLOW", **fields}


def calls(text: str, *capabilities: str) -> list[str]:
    found = section(text, capabilities)
    assert found is not None
    return [name for each in found["syscalls"] for name in each["names"]]


def allowed(*capabilities: str) -> set[str]:
    """Calls the default profile allows without a condition."""
    found = section("default", capabilities)
    assert found is not None
    return {
        name
        for each in found["syscalls"]
        if each["action"] == "SCMP_ACT_ALLOW" and "args" not in each
        for name in each["names"]
    }


def test_unconfined_is_no_filter() -> None:
    assert section("unconfined", ()) is None


def test_default_and_builtin_are_one() -> None:
    assert section("default", ()) == section("builtin", ()) == section("", ())


def test_everyday_calls_are_allowed_and_those_of_an_administrator_are_not() -> None:
    usual = allowed(*DEFAULT_CAPABILITIES)
    assert {"read", "openat2", "execve", "ptrace", "io_setup", "chroot"} <= usual
    assert not {"mount", "unshare", "setns", "bpf", "keyctl", "add_key", "io_uring_setup", "reboot"} & usual
    assert not {"kexec_load", "userfaultfd", "clone", "clone3", "socket", "personality"} & usual


def test_a_capability_brings_its_calls() -> None:
    assert {"mount", "unshare", "clone", "clone3"} <= allowed("CAP_SYS_ADMIN")
    assert "reboot" in allowed("CAP_SYS_BOOT")
    assert "settimeofday" in allowed("CAP_SYS_TIME")


def test_clone_makes_no_namespaces_and_clone3_does_not_exist() -> None:
    found = section("default", DEFAULT_CAPABILITIES)
    assert found is not None
    by_name = {each["names"][0]: each for each in found["syscalls"]}
    assert by_name["clone"]["args"][0] == {
        "index": 0,
        "value": 0x7E020000,
        "valueTwo": 0,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    assert (by_name["clone3"]["action"], by_name["clone3"]["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_no_socket_reaches_the_hypervisor_or_the_kernels_crypto() -> None:
    found = section("default", DEFAULT_CAPABILITIES)
    assert found is not None
    arguments = [each["args"][0] for each in found["syscalls"] if each["names"] == ["socket"]]
    exact = {each["value"] for each in arguments if each["op"] == "SCMP_CMP_EQ"}
    below = next(each["value"] for each in arguments if each["op"] == "SCMP_CMP_LT")
    for family, wanted in (("unix", 1), ("inet", 2), ("inet6", 10)):
        assert wanted < below, family
    assert {16, 17} <= exact  # netlink, packet
    assert not {38, 40} & exact  # alg, vsock


def test_a_rule_holds_for_its_capabilities_only() -> None:
    text = profile(
        rule("mount", includes={"caps": ["CAP_SYS_ADMIN"]}), rule("umount2", excludes={"caps": ["CAP_SYS_ADMIN"]})
    )
    assert calls(text, "CAP_SYS_ADMIN") == ["mount"]
    assert calls(text, "CAP_CHOWN") == ["umount2"]


def test_a_rule_holds_for_its_architecture_and_kernel_only() -> None:
    native = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    text = profile(
        rule("read", includes={"arches": [native]}),
        rule("write", includes={"arches": ["m68k"]}),
        rule("open", excludes={"arches": [native]}),
        rule("close", includes={"minKernel": "2.6"}),
        rule("stat", includes={"minKernel": "999.0"}),
    )
    assert calls(text) == ["read", "close"]


def test_arguments_and_error_numbers_come_through() -> None:
    argument = {"index": 1, "value": 2, "op": "SCMP_CMP_GE"}
    found = section(profile(rule("socket", args=[argument], action="SCMP_ACT_ERRNO", errnoRet=97)), ())
    assert found is not None
    assert found["syscalls"] == [
        {
            "names": ["socket"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 97,
            "args": [{"index": 1, "value": 2, "valueTwo": 0, "op": "SCMP_CMP_GE"}],
        }
    ]


def test_the_old_spelling_with_one_name_is_read() -> None:
    assert calls(profile({"name": "read", "action": "SCMP_ACT_ALLOW", "args": []})) == ["read"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "decoding failed"),
        ("[]", "decoding failed"),
        ("/etc/passwd", "decoding failed"),
        ("{}", "'defaultAction' is missing"),
        ('{"defaultAction": "SCMP_ACT_FLY"}', "unknown action 'SCMP_ACT_FLY'"),
        (profile({"names": ["read"]}), "'action' is missing"),
        (profile({"action": "SCMP_ACT_ALLOW"}), "a rule names no system call"),
        (profile(rule("read", args=[{"index": 0, "value": 1, "op": "LIKE"}])), "unknown operator 'LIKE'"),
        (profile(rule("read", args=[{"index": 0, "op": "SCMP_CMP_EQ"}])), "'value' is missing"),
        (profile(rule("read", args=[{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}])), "arguments 0 to 5, not 6"),
        (profile(rule("read", args=[{"index": 0, "value": 1 << 65, "op": "SCMP_CMP_EQ"}])), "64 bits"),
        (profile(rule("read", includes=["caps"])), "decoding failed"),
        (profile(rule("read", includes={"minKernel": "new"})), "decoding failed"),
    ],
)
def test_a_wrong_profile_is_malformed_and_says_why(text: str, why: str) -> None:
    with pytest.raises(Malformed) as raised:
        section(text, ())
    assert why in raised.value.message
