"""What this machine's kernel cannot do, tried on another one that runs as an ordinary program."""

import shutil
import sys
from pathlib import Path

import pytest

from support.another_kernel import CHECKOUT, KERNEL, run_in_another_kernel

pytestmark = pytest.mark.skipif(KERNEL is None, reason="needs Debian's user-mode-linux")


def test_limits_by_project_quota_and_of_images_that_grow_in_use(tmp_path: Path) -> None:
    tests = f"{CHECKOUT}/tests/kernel/elsewhere/limits.py"
    play = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", tests]
    said = run_in_another_kernel(
        tmp_path,
        [
            ["setpriv", "--bounding-set=-sys_resource", *play, "-k", "Quota", "--basetemp=/run/one"],
            [*play, "-k", "Image", "--basetemp=/run/two"],
        ],
    )
    assert said.count("EXIT: 0") == 2, said[-6000:]


needs_open_iscsi = pytest.mark.skipif(not shutil.which("iscsiadm", path="/usr/sbin:/sbin"), reason="needs open-iscsi")
SAN = ("sd_mod", "iscsi_tcp", "target_core_file", "iscsi_target_mod", "nbd")


@needs_open_iscsi
def test_san_volumes_by_the_kernels_initiator_and_the_fence_of_their_storage(tmp_path: Path) -> None:
    said = run_in_another_kernel(tmp_path, [_play("san.py")], 300, SAN)
    assert said.count("EXIT: 0") == 1, said[-6000:]


@needs_open_iscsi
@pytest.mark.slow
def test_a_driver_of_san_volumes_is_killed_at_every_step(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    steps = "all" if request.config.getoption("--long") else "some"
    said = run_in_another_kernel(tmp_path, [["env", f"ORLOP_STEPS={steps}", *_play("san_walk.py")]], 1100, SAN)
    assert said.count("EXIT: 0") == 1, said[-6000:]


@needs_open_iscsi
@pytest.mark.skipif(not shutil.which("etcd"), reason="needs etcd")
@pytest.mark.slow
def test_two_daemons_with_etcd_and_a_unit_by_the_kernels_initiator(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--long"):
        pytest.skip("only with --long")
    modules = (*SAN, "overlay", "veth", "bridge", "nf_tables", "nft_masq", "nft_compat")
    play = ["env", "ORLOP_TEST_ROOT=/run", *_play("san_cluster.py")]
    said = run_in_another_kernel(tmp_path, [play], 1100, modules)
    assert said.count("EXIT: 0") == 1, said[-6000:]


def _play(tests: str) -> list[str]:
    words = ("-q", "--color=no", "-p", "no:cacheprovider", "--basetemp=/run/san")
    return [sys.executable, "-m", "pytest", *words, f"{CHECKOUT}/tests/kernel/elsewhere/{tests}"]
