"""A password in a volume's options: nobody is shown it, and only root can read where it is kept."""

import json

from support.asking import Api
from support.daemon import LiveDaemon
from support.planted import Planted, files_below, is_for_root_alone, watched_arguments

WORD, URL, LATER = "hush-in-o", "hush-in-url", "hush-in-update"
SECRETS = Planted({"in o": WORD, "in a device": URL, "in an update": LATER})


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
    with daemon.spawned("events", stdout=-1) as events, watched_arguments(SECRETS) as in_arguments:
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
    lines = [line for text in said for line in text.splitlines()]
    assert [line for line in lines if SECRETS.found_in(line.encode()) or ",more" in line] == []
    assert in_arguments == set()
    for top in (daemon.data_root, daemon.exec_root):
        found = [path for path, content in files_below(top) if SECRETS.found_in(content)]
        assert [path for path in found if not is_for_root_alone(path, top)] == []
        assert top == daemon.exec_root or any(path.name == "opts.json" for path in found), "it is kept somewhere"
    assert (daemon.data_root / "volumes" / "nas0").stat().st_mode & 0o077 == 0o001
