"""A PostgreSQL in a container that is put to work, whose every commit is remembered outside of it."""

import contextlib
import fcntl
import threading

from support.daemon import CHECKOUT, LiveDaemon, wait_for
from support.postgres_image import postgres_archive

PLACE = "/var/lib/postgresql"
_SERVER = ["-c", "unix_socket_directories=/tmp", "-c", "listen_addresses=", "-c", "logging_collector=off"]


class CommitRecorder:
    """Inserts row after row and remembers, outside of the container, each id that the server gave back as committed."""

    def __init__(self, daemon: LiveDaemon, container: str) -> None:
        self.committed: list[int] = []
        self._client = daemon.spawn(
            "exec", "-i", container, "psql", "-qAt", "-v", "ON_ERROR_STOP=1", stdin=-1, stdout=-1, stderr=-1
        )
        self._thread = threading.Thread(target=self._insert_until_it_ends)
        self._thread.start()

    def _insert_until_it_ends(self) -> None:
        assert self._client.stdin
        assert self._client.stdout
        try:
            while True:
                self._client.stdin.write(b"INSERT INTO kept DEFAULT VALUES RETURNING id;\n")
                self._client.stdin.flush()
                answer = self._client.stdout.readline()
                if not answer.endswith(b"\n"):
                    return
                self.committed.append(int(answer))
        except (BrokenPipeError, ValueError):
            return

    def join(self) -> None:
        self._client.wait(30)
        self._thread.join(30)
        assert not self._thread.is_alive()
        for stream in (self._client.stdin, self._client.stdout, self._client.stderr):
            assert stream
            with contextlib.suppress(BrokenPipeError):
                stream.close()


def load_postgres(daemon: LiveDaemon) -> str:
    """The image. The first one who wants it makes it, for all that wait meanwhile."""
    (CHECKOUT / ".cache").mkdir(exist_ok=True)
    with (CHECKOUT / ".cache/postgres.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        archive = postgres_archive()
    said = daemon.docker("load", "-i", archive, timeout=300).stdout
    return str(said.partition(": ")[2].strip())


def start_database(daemon: LiveDaemon, image: str, name: str, mount: str = f"type=volume,src=pg,dst={PLACE}") -> None:
    """Returns when it takes questions."""
    command = daemon.inspect("image", image)["Config"]["Cmd"]
    daemon.docker("run", "-d", "--name", name, "--mount", mount, image, *command, *_SERVER, timeout=120)

    def is_ready() -> bool:
        done = daemon.docker("exec", name, "pg_isready", "-q", code=None)
        assert "is not running" not in done.stderr, daemon.docker("logs", name).stderr
        return done.returncode == 0

    wait_for("the database", is_ready, 120)


def query(daemon: LiveDaemon, container: str, sql: str) -> str:
    return daemon.docker("exec", container, "psql", "-qAt", "-c", sql).stdout.strip()
