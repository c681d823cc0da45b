"""Contexts for `docker plugin create`: a small volume plugin in Python that borrows the host's interpreter; rclone."""

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.daemon import LiveDaemon
from support.seaweed import program

# Volumes are directories in its own root file system; to mount one is to bind it below the propagated mount.
PROGRAM = """
import json, os, signal, socketserver, subprocess, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
from http.server import BaseHTTPRequestHandler
STORE, MOUNTS = "/data", "/mnt/volumes"
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        try:
            answer = getattr(self, self.path.rpartition(".")[2].lower())(body)
        except AttributeError:
            answer = {"Err": "no such call"}
        raw = json.dumps({"Err": "", **answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
    def create(self, body):
        wish = body.get("Opts") or {}
        if wish.get("die"):
            os._exit(7)
        if wish.get("sleep"):
            time.sleep(float(wish["sleep"]))
        os.makedirs(f"{STORE}/{body['Name']}", exist_ok=True)
        return {}
    def remove(self, body):
        subprocess.run(["rm", "-rf", f"{STORE}/{body['Name']}"])
        return {}
    def mount(self, body):
        outside = os.environ.get("OUTSIDE")
        place = outside or f"{MOUNTS}/{body['Name']}"
        os.makedirs(place, exist_ok=True)
        if not os.path.ismount(place):
            subprocess.run(["mount", "--bind", f"{STORE}/{body['Name']}", place], check=True)
        return {"Mountpoint": place}
    def unmount(self, body):
        subprocess.run(["umount", f"{MOUNTS}/{body['Name']}"])
        return {}
    def get(self, body):
        if not os.path.isdir(f"{STORE}/{body['Name']}"):
            return {}
        place = f"{MOUNTS}/{body['Name']}"
        return {"Volume": {"Name": body["Name"], "Mountpoint": place, "Status": {"version": VERSION}}}
    def list(self, body):
        return {"Volumes": [{"Name": name} for name in os.listdir(STORE)]}
    def capabilities(self, body):
        return {"Capabilities": {"Scope": "global"}}
    def log_message(self, *args):
        pass
VERSION = os.environ.get("VERSION", "1")
print("greeting:", os.environ.get("GREETING"), sys.argv[1:], flush=True)
if os.environ.get("FAILS"):
    sys.exit("it cannot work so")
os.makedirs(STORE, exist_ok=True)
os.makedirs(MOUNTS, exist_ok=True)
Server("/run/docker/plugins/small.sock", Handler).serve_forever()
"""

_BORROWED = ("/usr", "/etc/alternatives")


def borrowed(path: str) -> dict[str, Any]:
    """A directory of the host, to be read."""
    return {"name": path.strip("/"), "source": path, "destination": path, "type": "bind", "options": ["rbind", "ro"]}


def small_config(**changes: Any) -> dict[str, Any]:
    return {
        "description": "a small plugin",
        "entrypoint": ["/usr/bin/python3", "/plugin.py"],
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": "small.sock"},
        "network": {"type": "none"},
        "propagatedMount": "/mnt/volumes",
        "mounts": [borrowed(path) for path in _BORROWED],
        "env": [
            {"name": "GREETING", "description": "what it says", "value": "hello", "settable": ["value"]},
            {"name": "FAILS", "value": "", "settable": ["value"]},
            {"name": "OUTSIDE", "value": "", "settable": ["value"]},
            {"name": "VERSION", "value": "1"},
        ],
        "args": {"name": "args", "settable": ["value"], "value": ["one"]},
        "linux": {"capabilities": ["CAP_SYS_ADMIN"]},
        **changes,
    }


def write_context(folder: Path, config: Mapping[str, Any], files: Mapping[str, str] | None = None) -> Path:
    rootfs = folder / "rootfs"
    for name in ("usr", "etc/alternatives", "proc", "sys", "dev", "tmp", "mnt/volumes", "run/docker/plugins"):
        (rootfs / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (rootfs / name).symlink_to(f"usr/{name}")
    for name, text in {"plugin.py": PROGRAM, **(files or {})}.items():
        (rootfs / name).write_text(text)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_rclone_context(folder: Path, variables: Sequence[str]) -> Path:
    """`rclone serve docker` with all that it needs in its root file system: fusermount3 and its libraries, too."""
    rootfs = folder / "rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "data/volumes", "data/cache", "run/docker/plugins"):
        (rootfs / name).mkdir(parents=True)
    shutil.copy(program("rclone"), rootfs / "bin/rclone")
    mounter = shutil.which("fusermount3")
    assert mounter, "fusermount3 is not installed"
    _copy_with_libraries(Path(mounter), rootfs)
    config = {
        "description": "rclone",
        "entrypoint": ["/bin/rclone", "serve", "docker", "--config", "/dev/null", "--base-dir", "/data/volumes"],
        "args": {"name": "args", "settable": ["value"], "value": ["--cache-dir", "/data/cache", "-v"]},
        "interface": {"types": ["docker.volumedriver/1.0"], "socket": "rclone.sock"},
        "network": {"type": "host"},
        "propagatedMount": "/data/volumes",
        "env": [{"name": name, "value": "", "settable": ["value"]} for name in variables],
        "linux": {"capabilities": ["CAP_SYS_ADMIN"], "devices": [{"path": "/dev/fuse"}]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _copy_with_libraries(found: Path, rootfs: Path) -> None:
    said = subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout
    libraries = [word for line in said.splitlines() for word in line.split() if word.startswith("/")]
    shutil.copy(found, rootfs / "bin" / found.name)
    for library in libraries:
        target = rootfs / library.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)


def plugin_processes(daemon: LiveDaemon) -> list[int]:
    """Of its plugins: those whose supervisor is a conmon of theirs."""
    place = f"{daemon.exec_root}/managed/runtime".encode()
    supervisors = {
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and place in _read(entry / "cmdline") and b"conmon" in _read(entry / "cmdline")
    }
    return sorted(
        int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _parent(entry) in supervisors
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _parent(entry: Path) -> int:
    text = _read(entry / "stat").decode(errors="replace")
    return int(text.rpartition(")")[2].split()[1]) if text else 0
