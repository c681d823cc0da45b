"""What the documents forget, a test remembers."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCS = CHECKOUT / "docs"
PACKAGE = CHECKOUT / "src/orlop"
PAGES = [CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]


def test_every_folder_of_the_package_is_on_the_map() -> None:
    architecture = (DOCS / "architecture.md").read_text()
    folders = [path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("__init__.py")]
    rooms = {f"{folder}/" for folder in folders if len(folder.parts) == 1 and folder.name != "drivers"}
    rooms |= {f"{folder}/" for folder in folders if folder.parts[:1] == ("drivers",) and len(folder.parts) == 2}
    assert {room for room in rooms if f"| `{room}`" not in architecture} == set()


def test_every_file_that_a_page_names_exists() -> None:
    """Paths in backticks with a folder and an ending: of the package, or of the checkout."""
    for page in PAGES:
        if page.parent.name == "decisions" or page.name == "CHANGELOG.md":
            continue  # these tell of their day
        for name in re.findall(r"`([a-z_.]+(?:/[a-z_0-9.]+)+\.(?:py|md|txt|lock|toml))`", page.read_text()):
            assert (PACKAGE / name).exists() or (CHECKOUT / name).exists(), f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_decision_is_listed() -> None:
    listed = (DOCS / "decisions/README.md").read_text()
    for page in sorted((DOCS / "decisions").glob("[0-9]*.md")):
        assert f"({page.name})" in listed, f"add a line for {page.name} to docs/decisions/README.md"
        assert re.match(rf"# {page.name[:4]}:? \S", page.read_text()), f"{page.name} begins with its number and title"


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    reasons = (DOCS / "decisions/0080-chosen-parts.md").read_text()
    names = [re.split(r"[<>=!~ ]", wish)[0] for wish in project["dependencies"]]
    assert [name for name in names if name not in reasons] == []


def test_the_locks_hold_every_dependency_by_hash_and_name_no_host() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    for lock, wishes in (
        ("requirements.lock", [*project["dependencies"], "setuptools"]),
        ("requirements-dev.lock", project["optional-dependencies"]["dev"]),
    ):
        text = (CHECKOUT / lock).read_text()
        pinned = set(re.findall(r"^([A-Za-z0-9-]+)==", text, re.MULTILINE))
        assert {re.split(r"[<>=!~ ]", wish)[0].lower() for wish in wishes} <= pinned
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text


def test_names_on_disk_are_drawn() -> None:
    """Every name that store/paths.py spells is in docs/state-on-disk.md."""
    drawn = (DOCS / "state-on-disk.md").read_text()
    tree = ast.parse((PACKAGE / "store/paths.py").read_text())
    spelt = {
        node.right.value
        for node in ast.walk(tree)
        if isinstance(node, ast.BinOp) and isinstance(node.right, ast.Constant) and isinstance(node.right.value, str)
    }
    assert len(spelt) > 5
    assert {name for name in spelt if name not in drawn} == set()


def test_every_script_says_how_it_is_used() -> None:
    for script in [*(CHECKOUT / "script").iterdir(), CHECKOUT / ".ci/run"]:
        if script.suffix or "packages" in script.name:
            continue
        text = script.read_text()
        assert re.search(r"usage: .*" + script.name, text), f"{script.name} has no usage line"
        assert script.stat().st_mode & 0o111, f"{script.name} cannot be run"


def test_every_test_that_the_page_of_traps_names_is_there() -> None:
    """And every trap names one."""
    page = (DOCS / "traps.md").read_text()
    for file, name in re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", page):
        assert f"def {name}(" in (CHECKOUT / "tests" / file).read_text(), f"tests/{file} has no {name}"
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| trap", "| rule"))]
    assert [row for row in rows if "::test_" not in row.rsplit(" | ", 1)[1]] == []
