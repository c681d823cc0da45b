"""The tools that drivers use, started as somebody would who has no Orlop, with the same settings."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

MOUNT_SECONDS, END_SECONDS = 20.0, 10.0


def tool(name: str) -> str:
    found = shutil.which(name, path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed: script/setup")
    return found


def run(*command: str | Path, text: str = "", variables: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [tool(str(command[0])), *command[1:]],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **(variables or {})},
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} {command[1]}: {done.stderr.strip()[-500:]}")
    return done.stdout


@contextmanager
def mounted(place: Path, argv: Sequence[str], variables: Mapping[str, str] | None = None) -> Iterator[Path]:
    """A program that mounts on `place`, unmounted and ended afterwards."""
    place.touch() if place.suffix == ".img" else place.mkdir(parents=True, exist_ok=True)
    log = place.with_suffix(".log")
    with log.open("wb") as said:
        program = subprocess.Popen(
            [tool(argv[0]), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            # As Orlop's have: schedulers share a busy processor among sessions.
            start_new_session=True,
            env={**os.environ, **(variables or {})},
        )
    try:
        deadline = time.monotonic() + MOUNT_SECONDS
        while not is_mounted(place):
            if program.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{argv[0]} did not mount: {log.read_text(errors='replace')[-500:]}")
            time.sleep(0.02)
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True, timeout=30)
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait(END_SECONDS)


def is_mounted(place: Path) -> bool:
    return any(line.split()[4] == str(place) for line in Path("/proc/self/mountinfo").read_text().splitlines())


@contextmanager
def rclone(folder: Path, settings: Mapping[str, str], path: str) -> Iterator[Path]:
    config = folder / "rclone.conf"
    config.write_text("[bare]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
    command = ["rclone", "mount", f"bare:{path}", str(folder / "mount"), "--config", str(config)]
    command += ["--cache-dir", str(folder / "cache"), "--vfs-cache-mode", "writes", "--vfs-write-back", "1s"]
    with mounted(folder / "mount", [*command, "--allow-other", "--log-level", "NOTICE"]) as place:
        yield place


def obscured(password: str) -> str:
    return run("rclone", "obscure", "-", text=password).strip()


@contextmanager
def juicefs(folder: Path, meta: str, password: str, storage: Sequence[str]) -> Iterator[Path]:
    variables = {"META_PASSWORD": password, "JFS_SUPERVISOR": "1"}
    run("juicefs", "--no-agent", "format", "--no-update", *storage, meta, "bare", variables=variables)
    command = ["juicefs", "--no-agent", "mount", meta, str(folder / "mount"), "--cache-dir", str(folder / "cache")]
    command += ["--cache-size", "1024", "--no-usage-report", "--no-syslog", "--metrics", "127.0.0.1:0"]
    command += ["--hide-internal", "--enable-xattr", "--attr-cache", "0s", "--entry-cache", "0s"]
    with mounted(folder / "mount", [*command, "--dir-entry-cache", "0s", "--check-storage"], variables) as place:
        yield place


@contextmanager
def gocryptfs(folder: Path, key: str) -> Iterator[Path]:
    cipher, word = folder / "cipher", folder / "key"
    cipher.mkdir()
    word.write_text(key)
    run("gocryptfs", "-init", "-quiet", "-passfile", word, "--", cipher)
    command = ["gocryptfs", "-fg", "-nosyslog", "-allow_other", "-suid", "-dev", "-passfile", str(word), "--"]
    with mounted(folder / "mount", [*command, str(cipher), str(folder / "mount")]) as place:
        yield place


@contextmanager
def block_device(folder: Path, node: Mapping[str, object]) -> Iterator[Path]:
    """qemu-storage-daemon, a loop device on the file that it shows, ext4 on that."""
    disk, place = folder / "disk.img", folder / "mount"
    blocks = {**node, "node-name": "device", "read-only": False, "discard": "unmap"}
    export: dict[str, object] = {"type": "fuse", "id": "file", "node-name": "device", "mountpoint": str(disk)}
    export |= {"growable": False, "allow-other": "off", "writable": True}
    command = ["qemu-storage-daemon", "--blockdev", json.dumps(blocks), "--export", json.dumps(export)]
    with mounted(disk, command):
        loop = run("losetup", "--find", "--show", disk).strip()
        try:
            run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", loop)
            place.mkdir()
            run("mount", loop, place)
            yield place
        finally:
            subprocess.run(["umount", place], check=False, capture_output=True, timeout=60)
            subprocess.run(["losetup", "--detach", loop], check=False, capture_output=True, timeout=60)
