"""A password in a volume's options: nobody is shown it, and only root can read where it is kept."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.asking import Api
from support.daemon import LiveDaemon

WORD, URL, LATER = "hush-in-o", "hush-in-url", "hush-in-update"
SECRETS = (WORD, URL, LATER)


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """Secrets seen in the arguments or the environment of any process meanwhile."""
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            for folder in Path("/proc").glob("[0-9]*"):
                for file in ("cmdline", "environ"):
                    try:
                        text = (folder / file).read_bytes()
                    except OSError:
                        continue
                    seen.update(secret for secret in SECRETS if secret.encode() in text and b"docker" not in text)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def files_with_secrets(root: Path) -> Iterator[Path]:
    """What is just being deleted does not count."""
    for folder, _, names in os.walk(root):
        for path in (Path(folder) / name for name in names):
            try:
                content = path.read_bytes() if stat.S_ISREG(path.lstat().st_mode) else b""
            except FileNotFoundError:
                continue
            if any(secret.encode() in content for secret in SECRETS):
                yield path


def is_for_root_alone(path: Path, top: Path) -> bool:
    """The file itself, or a directory above it (below `top`) that others cannot even pass through."""
    places = [path, *(parent for parent in path.parents if parent.is_relative_to(top) and parent != top)]
    shut = [place for place in places if stat.S_IMODE(place.stat().st_mode) & (0o077 if place == path else 0o007) == 0]
    return path.stat().st_uid == 0 and bool(shut) and stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_password_is_shown_to_nobody_and_kept_for_root_alone(daemon: LiveDaemon) -> None:
    said: list[str] = []

    def docker(*arguments: str, code: int | None = 0) -> str:
        done = daemon.docker(*arguments, code=code)
        said.extend((done.stdout, done.stderr))
        return done.stdout + done.stderr

    def orlop(*arguments: str, code: int | None = 0) -> str:
        done = daemon.orlop(*arguments, code=code)
        said.extend((done.stdout, done.stderr))
        return done.stdout + done.stderr

    api = Api(daemon, "1.47")

    def get(path: str) -> str:
        return json.dumps(api.call("GET", path))

    options = [
        ["type=cifs", "device=//127.0.0.1/share", f"o=username=me,password={WORD},,more,uid=5"],
        ["type=davfs", f"device=https://me:{URL}@127.0.0.1/x", "o=ro"],
    ]
    with daemon.spawned("events", stdout=-1) as events, watched_processes() as in_processes:
        for number, words in enumerate(options):
            name = f"nas{number}"
            said.append(json.dumps(api.volume(name, DriverOpts=dict(word.split("=", 1) for word in words))))
            docker("volume", "create", *(word for option in words for word in ("--opt", option)), name)
            said.append(get(f"/volumes/{name}"))
            docker("volume", "inspect", name)
            failed = docker("run", "--name", name, "-v", f"{name}:/v", "busybox", "true", code=125)
            assert "failed to mount local volume" in failed
            docker("inspect", name)
            docker("rm", "-f", name)
            mount = ",".join(f'"volume-opt={word}"' for word in words)
            docker(
                "run",
                "--name",
                name,
                "--mount",
                f"type=volume,src=again{name},dst=/v,{mount}",
                "busybox",
                "true",
                code=125,
            )
            docker("inspect", name, code=None)
            docker("rm", "-f", name)
            changed = dict(word.split("=", 1) for word in words) | {"o": f"username=me,password={LATER}"}
            said.append(json.dumps(api.ok("PUT", f"/volumes/{name}", {"DriverOpts": changed})))
            docker("volume", "inspect", name)
            docker("volume", "create", "--opt", f"o=password={WORD}", "refused", code=1)
            docker("volume", "create", "--opt", f"password={WORD}", "refused", code=1)
        docker("volume", "ls", "--format", "json")
        said.append(get("/volumes"))
        said.append(get("/system/df"))
        orlop("volume", "ls", "--size", code=None)
        orlop("volume", "inspect", "nas0")
        docker("volume", "rm", "nas0")
        orlop("volume", "ls", "--retired")
        said.append(get("/orlop/v1/volumes/retired"))
        orlop("volume", "restore", "nas0")
        docker("volume", "inspect", "nas0")
        docker("ps", "-a")
        orlop("volume", "rename", "nas1", "other")
        docker("volume", "inspect", "other")
        daemon.restart()
        docker("volume", "inspect", "nas0", "nas1")
        docker("run", "--rm", "-v", "nas0:/v", "busybox", "true", code=125)
        events.terminate()
        said.append((events.stdout.read() if events.stdout else b"").decode())
    said.append(daemon.whole_log())
    for secret in (*SECRETS, ",more"):
        assert [line for text in said for line in text.splitlines() if secret in line] == []
    assert in_processes == set()
    for top in (daemon.data_root, daemon.exec_root):
        found = list(files_with_secrets(top))
        assert [path for path in found if not is_for_root_alone(path, top)] == []
    assert any(path.name == "opts.json" for path in files_with_secrets(daemon.data_root)), "it is kept somewhere"
    assert (daemon.data_root / "volumes" / "nas0").stat().st_mode & 0o077 == 0o001
