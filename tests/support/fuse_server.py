"""A file system whose storage can be made to hang, to fail, and to come back: FUSE, spoken here, over a directory.

Run as a process of its own: `python fuse_server.py FD DIRECTORY`, with FD the open /dev/fuse. Lines on its input change
what it does: `answer`, `hang` (requests are taken and not answered, so that not even SIGKILL wakes who waits), `fail`
(EIO), `hang-after N` (answer so many more, then hang). It prints each word once it holds. Waiting requests are answered
when `answer` comes.
"""

import errno
import os
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from orlop.kernel.polling import readable

LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK, MKNOD, MKDIR, UNLINK, RMDIR, RENAME = (
    1,
    2,
    3,
    4,
    5,
    6,
    8,
    9,
    10,
    11,
    12,
)
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR = (
    *(14, 15, 16, 17, 18, 20, 25, 26, 27, 28, 29),
)
FSYNCDIR, CREATE, INTERRUPT, DESTROY, BATCH_FORGET = 30, 35, 36, 38, 42
SILENT = (FORGET, INTERRUPT, BATCH_FORGET)  # the kernel wants no answer to these
HEADER = struct.Struct("<IIQQIIII")
ANSWER = struct.Struct("<IiQ")
ROOT = 1
LARGEST = 128 << 10
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = 1, 2, 4, 8, 16, 32


class Server:
    def __init__(self, fd: int, top: Path) -> None:
        self._fd = fd
        self._paths = {ROOT: top}
        self._numbers = {top: ROOT}
        self._waiting: list[bytes] = []
        self._mode = "answer"
        self._left = -1  # answers until it hangs; -1: no end
        self._calls: dict[int, Callable[[int, bytes], bytes]] = {
            LOOKUP: lambda node, data: self._entry(self._child(node, data)),
            GETATTR: lambda node, data: struct.pack("<QII", 0, 0, 0) + attributes(self._paths[node]),
            SETATTR: self._set_attributes,
            READLINK: lambda node, data: os.fsencode(self._paths[node].readlink()),
            SYMLINK: self._symlink,
            MKNOD: self._make_node,
            MKDIR: self._make_directory,
            UNLINK: lambda node, data: self._unlink(self._child(node, data)),
            RMDIR: lambda node, data: self._remove_directory(self._child(node, data)),
            RENAME: self._rename,
            OPEN: self._open,
            CREATE: self._create,
            READ: self._read,
            WRITE: self._write,
            STATFS: lambda node, data: self._statfs(),
            RELEASE: self._release,
            OPENDIR: lambda node, data: struct.pack("<QII", 0, 0, 0),
            READDIR: self._list,
            INIT: lambda node, data: struct.pack("<IIIIHHIIHHI28x", 7, 31, LARGEST, 0, 16, 12, LARGEST, 1, 0, 0, 0),
            **dict.fromkeys((FLUSH, FSYNC, FSYNCDIR, RELEASEDIR, DESTROY), lambda node, data: b""),
        }

    def serve(self) -> None:
        while True:
            ready = readable([self._fd, 0])
            if 0 in ready:
                words = os.read(0, 4096)
                if not words:
                    return
                for line in words.decode().splitlines():
                    self._obey(line)
                continue
            try:
                request = os.read(self._fd, LARGEST + 4096)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # the asker was killed before it was read
                    continue
                return  # ENODEV: unmounted
            if self._left == 0:
                self._mode = "hang"
            if self._mode == "hang" and not _is_greeting(request):
                self._waiting.append(request)
            else:
                self._left -= self._left > 0
                self._answer(request)

    def _obey(self, line: str) -> None:
        self._mode, _, number = line.partition(" ")
        self._left = -1
        if self._mode == "hang-after":
            self._mode, self._left = "answer", int(number)
        if self._mode != "hang":
            waiting, self._waiting = self._waiting, []
            for request in waiting:
                self._answer(request)
        print(line, flush=True)

    def _answer(self, request: bytes) -> None:
        _, opcode, unique, node, *_ = HEADER.unpack_from(request)
        if opcode in SILENT:
            return
        code, body = 0, b""
        try:
            if self._mode == "fail" and not _is_greeting(request):
                raise OSError(errno.EIO, "storage failed")
            body = self._calls[opcode](node, request[HEADER.size :])
        except KeyError:
            code = errno.ENOSYS
        except OSError as error:
            code = error.errno or errno.EIO
        try:
            os.write(self._fd, ANSWER.pack(ANSWER.size + len(body), -code, unique) + body)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # nobody waits for it any more
                raise

    def _child(self, node: int, data: bytes) -> Path:
        return self._paths[node] / os.fsdecode(data.split(b"\0")[0])

    def _entry(self, path: Path) -> bytes:
        body = attributes(path)
        number = self._numbers.setdefault(path, max(self._paths) + 1)
        self._paths[number] = path
        return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + body

    def _set_attributes(self, node: int, data: bytes) -> bytes:
        wanted, _, _, size, _, atime, mtime, _, _, _, _, mode, _, uid, gid, _ = struct.unpack_from("<II6Q8I", data)
        path = self._paths[node]
        if wanted & SET_MODE:
            path.chmod(stat.S_IMODE(mode))
        if wanted & (SET_UID | SET_GID):
            os.chown(path, uid if wanted & SET_UID else -1, gid if wanted & SET_GID else -1, follow_symlinks=False)
        if wanted & SET_SIZE:
            os.truncate(path, size)
        if wanted & (SET_ATIME | SET_MTIME):
            os.utime(path, (atime, mtime), follow_symlinks=False)
        return struct.pack("<QII", 0, 0, 0) + attributes(path)

    def _symlink(self, node: int, data: bytes) -> bytes:
        name, target = data.split(b"\0")[:2]
        path = self._paths[node] / os.fsdecode(name)
        path.symlink_to(os.fsdecode(target))
        return self._entry(path)

    def _make_node(self, node: int, data: bytes) -> bytes:
        mode, device = struct.unpack_from("<II", data)
        path = self._child(node, data[16:])
        os.mknod(path, mode, device)
        return self._entry(path)

    def _make_directory(self, node: int, data: bytes) -> bytes:
        (mode,) = struct.unpack_from("<I", data)
        path = self._child(node, data[8:])
        path.mkdir(stat.S_IMODE(mode))
        return self._entry(path)

    def _rename(self, node: int, data: bytes) -> bytes:
        (directory,) = struct.unpack_from("<Q", data)
        old, new = data[8:].split(b"\0")[:2]
        source, target = self._paths[node] / os.fsdecode(old), self._paths[directory] / os.fsdecode(new)
        source.rename(target)
        for number, path in list(self._paths.items()):
            if path == source or source in path.parents:
                self._paths[number] = target / path.relative_to(source)
        self._numbers = {path: number for number, path in self._paths.items()}
        return b""

    def _open(self, node: int, data: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", data)
        return struct.pack("<QII", os.open(self._paths[node], flags & ~os.O_CREAT & ~os.O_EXCL), 1, 0)  # 1: no cache

    def _create(self, node: int, data: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", data)
        path = self._child(node, data[16:])
        opened = os.open(path, flags | os.O_CREAT, stat.S_IMODE(mode))
        return self._entry(path) + struct.pack("<QII", opened, 1, 0)

    def _read(self, node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return os.pread(handle, size, offset)

    def _write(self, node: int, data: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", data)
        return struct.pack("<II", os.pwrite(handle, data[40 : 40 + size], offset), 0)

    def _release(self, node: int, data: bytes) -> bytes:
        os.close(struct.unpack_from("<Q", data)[0])
        return b""

    def _unlink(self, path: Path) -> bytes:
        path.unlink()
        return b""

    def _remove_directory(self, path: Path) -> bytes:
        path.rmdir()
        return b""

    def _list(self, node: int, data: bytes) -> bytes:
        _, offset, size = struct.unpack_from("<QQI", data)
        body = b""
        for position, name in enumerate([".", "..", *sorted(os.listdir(self._paths[node]))][offset:], offset + 1):
            kind = stat.S_IFMT((self._paths[node] / name).lstat().st_mode) >> 12
            raw = os.fsencode(name)
            entry = struct.pack("<QQII", position, position, len(raw), kind) + raw
            entry += b"\0" * (-len(entry) % 8)
            if len(body) + len(entry) > size:
                break
            body += entry
        return body

    def _statfs(self) -> bytes:
        found = os.statvfs(self._paths[ROOT])
        return struct.pack(
            "<5Q4I24x",
            found.f_blocks,
            found.f_bfree,
            found.f_bavail,
            found.f_files,
            found.f_ffree,
            found.f_bsize,
            255,
            found.f_frsize,
            0,
        )


def _is_greeting(request: bytes) -> bool:
    """Without an answer to it there is no file system."""
    return int(HEADER.unpack_from(request)[1]) == INIT


def attributes(path: Path) -> bytes:
    found = path.lstat()
    times = (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
    return struct.pack(
        "<6Q10I",
        *(found.st_ino, found.st_size, found.st_blocks, *(time // 10**9 for time in times)),
        *(time % 10**9 for time in times),
        *(found.st_mode, found.st_nlink, found.st_uid, found.st_gid, found.st_rdev & 0xFFFFFFFF, 4096, 0),
    )


if __name__ == "__main__":
    Server(int(sys.argv[1]), Path(sys.argv[2])).serve()
