"""Secrets planted into every driver that takes one, and looked for everywhere: they are shown nowhere, and kept by name
only encrypted. The drivers work meanwhile, fail in every way they can, and are killed."""

import json
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from conftest import DaemonMaker
from support import nas
from support.asking import Api, ask
from support.daemon import CHECKOUT, LiveDaemon, orlop_command, run_command, wait_for
from support.fake_plugin import FakePlugin
from support.iscsi_target import iscsi_target, needs_san
from support.lent_driver import LentDriver
from support.planted import (
    Planted,
    files_below,
    is_for_root_alone,
    processes_of,
    watched_arguments,
    what_it_shows,
)
from support.postgres import PASSWORD as POSTGRES_PASSWORD
from support.postgres import postgres
from support.redis import PASSWORD as REDIS_PASSWORD
from support.redis import redis
from support.seaweed import ACCESS_KEY, SECRET_KEY, seaweed

pytestmark = needs_san

CHAP, VAULT, WRONG = "planted-chap-word", 'planted "key" of/the+vault&', "planted=wrong/word+of all"
GIVEN_TO_PLUGIN, CIFS = "planted:word, for/the plugin", "planted-word-for-cifs"


@dataclass
class Kind:
    """A driver with its options, secrets by name, and how each may go wrong."""

    driver: str
    options: dict[str, str]
    away: dict[str, str] = field(default_factory=dict)  # options that lead nowhere
    works: bool = True


@dataclass
class Scene:
    kinds: dict[str, Kind]
    secrets: dict[str, str]
    plugin: FakePlugin
    daemon: LiveDaemon

    @property
    def planted(self) -> Planted:
        return Planted({**self.secrets, "wrong": WRONG})


class Echo(FakePlugin):
    """It says again what it was given, as plugins do."""

    def _told(self, name: str) -> dict[str, Any]:
        options = self.volumes.get(name, {})
        said = f"mounted with {' '.join(options.values())}"
        return {**super()._told(name), "Status": {"options": options, "said": [said], "args": [{"deep": said}]}}


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Kind], dict[str, str]]]:
    place = tmp_path_factory.mktemp("planted")
    with ExitStack() as stack:
        storage = stack.enter_context(seaweed(place / "weed"))
        names = stack.enter_context(redis(place / "redis"))
        rows = stack.enter_context(postgres())
        shares = {
            "smb": stack.enter_context(nas.samba(_made(place / "smb"))),
            "sftp": stack.enter_context(nas.sftp(_made(place / "sftp"))),
            "webdav": stack.enter_context(nas.webdav(_made(place / "dav"))),
        }
        target = stack.enter_context(iscsi_target(place, 1, chap=("me", CHAP)))
        rows.make_database("trees")
        for bucket in ("photos", "vault", "trees", "rows"):
            storage.make_bucket(bucket)
        keys = {"access-key": "secret://s3id", "secret-key": "secret://s3key"}
        bucket = {"type": "s3", "endpoint": storage.endpoint, **keys}
        nowhere = {"endpoint": "http://127.0.0.1:9"}
        trees = {"name": "tree", "bucket": f"{storage.endpoint}/trees", **keys}
        yield (
            {
                "cloud": Kind("cloud", {**bucket, "bucket": "photos"}, nowhere),
                **{
                    name: Kind(
                        "nas", share.options, {"url": "http://me:x@127.0.0.1:9"} if name == "webdav" else {"port": "9"}
                    )
                    for name, share in shares.items()
                },
                "san": Kind(
                    "san",
                    {**target.options(1), "chap-user": "me", "chap-password": "secret://chap"},
                    {"portal": "127.0.0.1:9"},
                ),
                "redis": Kind(
                    "juicefs",
                    {"meta": names.url(1), "meta-password": "secret://redis", **trees},
                    {"meta": "redis://127.0.0.1:9/1"},
                ),
                "postgres": Kind(
                    "juicefs",
                    {
                        "meta": rows.url("trees").replace("@", ":secret://postgres@"),
                        **trees,
                        "bucket": f"{storage.endpoint}/rows",
                    },
                    {"meta": "postgres://me:secret://postgres@127.0.0.1:9/trees"},
                ),
                "vault": Kind("encrypted", {"key": "secret://vault"}),
                "far": Kind(
                    "encrypted", {"key": "secret://vault", "driver": "cloud", **bucket, "bucket": "vault"}, nowhere
                ),
                "fake": Kind("fake", {"password": "secret://plugin", "o": "rw,token=secret://plugin"}),
                "cifs": Kind(
                    "local",
                    {
                        "type": "cifs",
                        "device": "//127.0.0.1/team",
                        "o": "addr=127.0.0.1,username=me,password=secret://cifs",
                    },
                    works=False,
                ),
            },
            {
                "s3id": ACCESS_KEY,
                "s3key": SECRET_KEY,
                "smb": nas.PASSWORD,
                "sftp": shares["sftp"].secrets["nas"],
                "webdav": nas.PASSWORD,
                "chap": CHAP,
                "redis": REDIS_PASSWORD,
                "postgres": POSTGRES_PASSWORD,
                "vault": VAULT,
                "plugin": GIVEN_TO_PLUGIN,
                "cifs": CIFS,
            },
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.fixture
def scene(
    make_daemon: DaemonMaker, backends: tuple[dict[str, Kind], dict[str, str]], tmp_path: Path
) -> Iterator[Scene]:
    kinds, secrets = backends
    kinds = {
        name: Kind(
            kind.driver,
            {key: value.replace("secret://nas", f"secret://{name}") for key, value in kind.options.items()},
            kind.away,
            kind.works,
        )
        for name, kind in kinds.items()
    }
    daemon = make_daemon(arguments=["--debug"])
    plugin = Echo(daemon.plugins, tmp_path / "fake")
    plugin.start()
    for name, value in secrets.items():
        assert daemon.orlop("secret", "create", name, stdin=value).stdout == f"{name}\n"
    yield Scene(kinds, secrets, plugin, daemon)
    plugin.always.clear()
    daemon.clear()
    plugin.stop()


def create(daemon: LiveDaemon, kind: Kind, name: str, code: int | None = 0, **more: str) -> str:
    options = {**kind.options, **{key.replace("_", "-"): value for key, value in more.items()}}
    words = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    done = daemon.docker("volume", "create", "-d", kind.driver, *words, name, code=code)
    return done.stdout + done.stderr


def leaks(scene: Scene, volumes: list[str], said: list[tuple[str, bytes]]) -> list[str]:
    """What is shown, by whom; and what programs were given that live on."""
    daemon, api = scene.daemon, Api(scene.daemon, "1.47")
    containers = daemon.docker("ps", "-aq").stdout.split()
    said += list(what_it_shows(daemon, containers, volumes))
    for path in (
        "/volumes",
        "/system/df",
        "/containers/json?all=1",
        "/info",
        *(f"/volumes/{name}" for name in volumes),
    ):
        said.append((f"GET {path}", json.dumps(api.call("GET", path)).encode()))
    for path in ("/orlop/v1/volumes", "/orlop/v1/volumes/retired", "/orlop/v1/secrets", "/orlop/metrics"):
        said.append((path, ask(daemon, f"GET {path}")[2].encode()))
    for entry in processes_of(daemon.data_root, daemon.exec_root, pids=(daemon.pid,)):
        for file in ("cmdline", "environ", "mounts"):
            try:
                said.append((f"{file} of {(entry / 'comm').read_text().strip()}", (entry / file).read_bytes()))
            except OSError:
                continue
    found = {f"{where}: {name}" for where, text in said for name in scene.planted.found_in(text)}
    # JuiceFS shows the id of the bucket's key, which is no secret, to root in the container.
    return sorted(found - {"/*x/.config in a container: s3id"})


def test_what_is_given_by_name_is_shown_nowhere_and_kept_encrypted(scene: Scene) -> None:
    daemon, said = scene.daemon, []
    working = [name for name, kind in scene.kinds.items() if kind.works]
    with watched_arguments(scene.planted) as in_arguments, daemon.spawned("events", stdout=-1) as events:
        for name, kind in scene.kinds.items():
            said.append((f"create {name}", create(daemon, kind, name).encode()))
        mounts = [word for name in working for word in ("-v", f"{name}:/{name}x")]
        daemon.docker("run", "-d", "--name", "user", *mounts, "busybox", "sleep", "1000", timeout=100)
        script = "; ".join(f"echo hi > /{name}x/note" for name in working)
        daemon.docker("exec", "user", "sh", "-c", script)
        assert leaks(scene, list(scene.kinds), said) == []
        kept = [path for top in (daemon.data_root, daemon.home) for path in _holding(top, scene.planted)]
        assert kept == []
        given = _holding(daemon.exec_root, scene.planted)
        assert given, "programs get them in files"
        assert [path for path in given if not is_for_root_alone(path, daemon.exec_root)] == []

        daemon.restart()
        for record in daemon.exec_root.glob("programs/*/*/program.json"):
            os.kill(json.loads(record.read_text())["pid"], signal.SIGKILL)
        mended = {"cloud", "smb", "sftp", "webdav", "redis", "postgres", "vault", "far"}
        wait_for("their ends to be found", lambda: "its program ended" in daemon.whole_log(), 30)
        assert leaks(scene, list(scene.kinds), []) == []
        wait_for("the rest", lambda: all(f"volume {one} was mounted anew" in daemon.whole_log() for one in mended), 40)
        assert leaks(scene, list(scene.kinds), []) == []
        daemon.docker("rm", "-f", "user", timeout=100)
        daemon.docker("volume", "rm", *scene.kinds)
        assert leaks(scene, [], []) == []
        events.terminate()
        assert events.stdout is not None
        assert not scene.planted.found_in(events.stdout.read())
    assert not in_arguments


def test_what_is_given_plainly_is_shown_nowhere_and_kept_for_root_alone(scene: Scene) -> None:
    daemon, said = scene.daemon, []
    plainly = {name: _plain(scene, kind) for name, kind in scene.kinds.items() if kind.driver != "encrypted"}
    working = [name for name, kind in plainly.items() if kind.works]
    for name, kind in plainly.items():
        said.append((f"create {name}", create(daemon, kind, name).encode()))
    refused = _plain(scene, scene.kinds["vault"])
    said.append(("create vault", create(daemon, refused, "vault", code=1).encode()))
    mounts = [word for name in working for word in ("-v", f"{name}:/{name}x")]
    options = [f"volume-opt={key}={value}" for key, value in plainly["cifs"].options.items() if key != "o"]
    options.append(f'"volume-opt=o=username=me,password={CIFS}"')
    options.append(f"volume-opt=password={CIFS}")
    inline = f"type=volume,src=more,dst=/more,volume-driver=fake,{','.join(options)}"
    daemon.docker("run", "-d", "--name", "user", *mounts, "--mount", inline, "busybox", "sleep", "1000", timeout=100)
    assert leaks(scene, list(plainly), said) == []
    daemon.restart()
    assert leaks(scene, list(plainly), []) == []
    for top in (daemon.data_root, daemon.exec_root):
        assert [path for path in _holding(top, scene.planted) if not is_for_root_alone(path, top)] == []
    daemon.docker("rm", "-f", "user", timeout=100)


def _plain(scene: Scene, kind: Kind) -> Kind:
    def value_of(text: str) -> str:
        for name in sorted(scene.secrets, key=len, reverse=True):
            text = text.replace(f"secret://{name}", scene.secrets[name].replace(",", ",,"))
        return text

    options = {key: value_of(value) for key, value in kind.options.items()}
    if kind.options.get("meta", "").startswith("postgres"):
        options["meta"] = kind.options["meta"].replace("secret://postgres", quote(scene.secrets["postgres"], safe=""))
    return Kind(kind.driver, options, kind.away, kind.works)


def test_no_error_says_a_secret(scene: Scene) -> None:
    """Keys that do not fit, by name and plainly, storage that is away, and a secret for every option in turn."""
    daemon = scene.daemon
    daemon.orlop("secret", "create", "wrong", stdin=WRONG)
    said: list[tuple[str, bytes]] = []

    def try_out(name: str, kind: Kind) -> None:
        create(daemon, kind, name)
        done = daemon.docker("run", "--name", name, "-v", f"{name}:/v", "busybox", "true", code=None, timeout=100)
        assert done.returncode, f"{name} has started"
        shown = daemon.docker("inspect", name).stdout + daemon.docker("volume", "inspect", name).stdout
        said.append((f"run {name}", (done.stdout + done.stderr + shown).encode()))
        daemon.docker("rm", name)
        daemon.docker("volume", "rm", name)

    tried = {}
    for name, kind in scene.kinds.items():
        if kind.driver == "fake":
            continue
        if kind.away:
            tried[f"away-{name}"] = Kind(kind.driver, {**kind.options, **kind.away})
        for way, word in (("named", "secret://wrong"), ("plain", WRONG)):
            if way == "named" or kind.driver != "encrypted":
                tried[f"{way}-{name}"] = Kind(kind.driver, _with_other_secret(kind.options, word))
    tried.pop("named-vault")  # a key that is the first one fits
    tried.pop("named-far")
    for name in [name for name, kind in tried.items() if kind.driver == "san"]:  # a device is one volume's
        try_out(name, tried.pop(name))
    for name, kind in scene.kinds.items():
        for option in kind.options:
            changed = Kind(kind.driver, {**kind.options, option: "secret://wrong"})
            refused = create(daemon, changed, f"odd-{name}-{option}", code=None)
            said.append((f"{name} {option}", refused.encode()))
            is_tried = option in ("meta", "secret-key", "key") or (kind.driver, option) == ("juicefs", "access-key")
            if "Error" not in refused and kind.driver != "fake" and not is_tried:
                daemon.docker("volume", "rm", f"odd-{name}-{option}")
                tried[f"again-{name}-{option}"] = changed
        odd = Kind(kind.driver, {**kind.options, "colour": "secret://wrong", "token": WRONG})
        said.append((f"{name} odd", create(daemon, odd, f"odd-{name}", code=None).encode()))
    with ThreadPoolExecutor(4) as pool, watched_arguments(scene.planted) as in_arguments:
        list(pool.map(try_out, *zip(*tried.items(), strict=True)))
    assert not in_arguments
    create(daemon, scene.kinds["vault"], "vault")
    daemon.docker("run", "--rm", "-v", "vault:/v", "busybox", "true")
    daemon.orlop("secret", "create", "--force", "vault", stdin=WRONG)
    try_out("vault", scene.kinds["vault"])
    scene.plugin.always["Mount"] = {"Err": f"no mount with {GIVEN_TO_PLUGIN}"}
    try_out("fake", scene.kinds["fake"])
    names = daemon.docker("volume", "ls", "-q").stdout.split()
    found = leaks(scene, names, said)
    assert not found, "\n".join(found)


def _with_other_secret(options: dict[str, str], word: str) -> dict[str, str]:
    return {key: re.sub(r"secret://\w+", word.replace("\\", ""), value) for key, value in options.items()}


def test_what_is_given_to_a_served_driver_is_shown_nowhere(scene: Scene) -> None:
    """By the plugin protocol, its log, its process and what it keeps."""
    with _served("cloud") as cloud, _served("san") as san:
        for kind, plugin in ((scene.kinds["cloud"], cloud), (scene.kinds["san"], san)):
            plugin.wait_until_ready()
            for secret, value in {**scene.secrets, "wrong": WRONG}.items():
                words = [*orlop_command(), "secret", "create", "--root", plugin.root, secret]
                run_command(words, stdin=value, env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")})
            wrong = _with_other_secret(kind.options, "secret://wrong")
            said = [plugin.called("Create", Name="one", Opts=kind.options), plugin.called("Mount", Name="one", ID="u")]
            for options in (wrong, {**kind.options, **kind.away}, {**wrong, "colour": WRONG}):
                said += [plugin.call("VolumeDriver.Create", {"Name": "two", "Opts": options})]
                said += [plugin.call("VolumeDriver.Mount", {"Name": "two", "ID": "w"})]
                said += [plugin.call("VolumeDriver.Remove", {"Name": "two"})]
            said += [plugin.called("Get", Name="one"), plugin.called("List"), plugin.logs()]
            texts = [json.dumps(said).encode()]
            for entry in processes_of(plugin.root, plugin.exec_root, pids=(plugin.pid,)):
                texts += [(entry / file).read_bytes() for file in ("cmdline", "environ", "mounts")]
            assert [text for text in texts if scene.planted.found_in(text)] == []
            assert _holding(plugin.root, scene.planted) == []
            plugin.called("Unmount", Name="one", ID="u")


@contextmanager
def _served(driver: str) -> Iterator[LentDriver]:
    plugin = LentDriver(driver)
    plugin.arguments = ["--debug"]
    try:
        plugin.start(wait=False)
        yield plugin
    finally:
        plugin.close()


def _holding(top: Path, planted: Planted) -> list[Path]:
    return [path for path, content in files_below(top) if planted.found_in(content)]
