"""Every runtime driver keeps the contract."""

import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.runtimes.driver import Runtime
from orlop.drivers.runtimes.oci import OciRuntime
from orlop.testing.runtime_confinement import RuntimeConfinement
from orlop.testing.runtimes import RuntimeContract

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture(scope="session")
def rootfs(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rootfs")
    with tarfile.open(busybox_tar) as tar:
        tar.extraction_filter = None  # the newest Pythons ask for one; Debian 12 has none yet
        tar.extractall(directory)
    directory.chmod(0o755)  # not only root runs in it
    return directory


class _Oci(RuntimeContract, RuntimeConfinement):
    program = ""

    @pytest.fixture
    def runtime(self, tmp_path: Path) -> Iterator[Runtime]:
        if shutil.which(self.program) is None or shutil.which("conmon") is None:
            pytest.skip(f"{self.program} or conmon is not installed (script/setup installs them)")
        self.root = tmp_path / "runtime"
        yield OciRuntime(self.root, self.program)

    def reopened(self, runtime: Runtime) -> Runtime:
        return OciRuntime(self.root, self.program)


class TestCrun(_Oci):
    program = "crun"


class TestRunc(_Oci):
    program = "runc"
