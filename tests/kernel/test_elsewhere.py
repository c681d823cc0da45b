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


@pytest.mark.skipif(not shutil.which("iscsiadm", path="/usr/sbin:/sbin"), reason="needs open-iscsi")
def test_san_volumes_by_the_kernels_initiator_and_the_fence_of_their_storage(tmp_path: Path) -> None:
    tests = f"{CHECKOUT}/tests/kernel/elsewhere/san.py"
    play = [sys.executable, "-m", "pytest", "-q", "--color=no", "-p", "no:cacheprovider", tests, "--basetemp=/run/san"]
    modules = ("sd_mod", "iscsi_tcp", "target_core_file", "iscsi_target_mod", "nbd")
    said = run_in_another_kernel(tmp_path, [play], 300, modules)
    assert said.count("EXIT: 0") == 1, said[-6000:]
