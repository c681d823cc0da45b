"""A place in a cluster, from settings. What needs etcd is tried in tests/unit/cluster and tests/api."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.daemon.config import Settings
from orlop.daemon.joining import join
from orlop.errors import Malformed

CHECKOUT = Path(__file__).parents[3]
SETTINGS = Settings(cluster="etcd://127.0.0.1:1", node="a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (replace(SETTINGS, cluster="http://10.0.0.1"), "etcd://"),
        (replace(SETTINGS, node="a/b"), "--node"),
        (replace(SETTINGS, cluster_prefix="orlop"), "cluster-prefix"),
        (replace(SETTINGS, cluster_key="/k"), "--cluster-cert"),
        (replace(SETTINGS, cluster_user="me"), "--cluster-password-file"),
        (replace(SETTINGS, cluster_user="me", cluster_password_file="/nowhere/word"), "/nowhere/word"),
        (replace(SETTINGS, cluster_ca="/nowhere/ca.pem"), "TLS"),
    ],
)
def test_what_cannot_be_is_named(settings: Settings, message: str, tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=message):
        join(settings, "id", "1", tmp_path / "copy", tmp_path / "leashes")


def test_a_host_alone_imports_nothing_of_it() -> None:
    """But for the contract, which says what a cluster would be asked."""
    code = (
        "import sys, orlop.daemon.assemble; print(*(name for name in sys.modules if name.startswith('orlop.cluster')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["orlop.cluster", "orlop.cluster.contract"]
