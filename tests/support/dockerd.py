"""Docker's own daemon in the place of ours, to try the tests themselves: what passes with both is Docker's way."""

import os
import subprocess

from support.daemon import LiveDaemon


class Dockerd(LiveDaemon):
    def _command(self) -> list[str]:
        subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], capture_output=True, check=False)
        subprocess.run(["ip", "addr", "add", "172.30.99.1/24", "dev", self.bridge], capture_output=True, check=False)
        return [
            *(
                os.environ.get("ORLOP_TEST_PEER", "/usr/sbin/dockerd"),
                "--data-root",
                str(self.data_root),
                "--exec-root",
                str(self.exec_root),
            ),
            *("--host", self.host, "--bridge", self.bridge, "--pidfile", str(self.home / "pid"), "--live-restore"),
            *self.arguments,
        ]
