"""How long a container that was killed is waited for, and what is said of one that does not end."""

from concurrent.futures import Future

import pytest

from orlop.engine import endings
from orlop.engine.container_records import WaitResult
from orlop.errors import HostFailure
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status

CONTAINER = Container(
    "c" * 64, "app", 0, "", ContainerConfig(), HostConfig(), "", (), status=Status(ContainerState.RUNNING)
)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "KILL_PATIENCE_SECONDS", 0)
    monkeypatch.setattr(endings, "_LETTING_GO_SECONDS", 0)


def test_a_process_that_outlives_its_kill_is_said_to() -> None:
    with pytest.raises(HostFailure, match="did not end within"):
        endings.wait_for_end("kill", "app", CONTAINER, Future(), lambda container: True)


def test_one_that_is_gone_is_waited_for_until_its_storage_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostFailure, match="its process has ended, and its storage gives no answer"):
        endings.wait_for_end("kill", "app", CONTAINER, Future(), lambda container: False)
    monkeypatch.setattr(endings, "_LETTING_GO_SECONDS", 20)
    ended: Future[WaitResult] = Future()

    def lives(container: Container) -> bool:
        ended.set_result(WaitResult(137))
        return False

    endings.wait_for_end("kill", "app", CONTAINER, ended, lives)
