"""House rules: who imports whom, what is documented, what is clean."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from running import ROOT

# Each part's folder and what it may import of ours, besides itself.
PARTS = {
    "asgi_mtls": ("asgi-mtls/src/asgi_mtls", set()),
    "asgi_mtls tests": ("asgi-mtls/tests", {"asgi_mtls"}),
    "browser": ("browser", {"catalogue"}),
    "ca": ("ca", {"catalogue"}),
    "catalogue": ("catalogue", set()),
    "client": ("client", {"catalogue"}),
    "server": ("server", {"asgi_mtls"}),
}
OURS = {*PARTS, "bench", "examples", "mtls_doctor", "tests", *(path.stem for path in (ROOT / "tests").glob("*.py"))}
MAX_LINES = 300


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True
    )
    if done.returncode:
        return [p for pattern in patterns or ("*",) for p in ROOT.rglob(pattern) if ".venv" not in p.parts]
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add((node.module or "").split(".")[0])
    return names


@pytest.mark.parametrize("part", PARTS)
def test_import_rule(part: str) -> None:
    folder, allowed = PARTS[part]
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        found = imports(path)
        assert found & OURS <= allowed | {part}, path
        if part == "catalogue":
            assert found <= set(sys.stdlib_module_names) | {"catalogue"}, path


def test_the_tests_of_the_library_use_nothing_of_the_lab() -> None:
    tests = ROOT / "asgi-mtls/tests"
    files = {path.stem: path for path in tests.glob("*.py")}
    assert len(files) > 5
    for path in files.values():
        assert not imports(path) & (OURS - {"asgi_mtls", "mtls_doctor"} - {"conftest"}), path
    lab = {path.stem for path in (ROOT / "tests").rglob("*.py")} - {"conftest"}
    assert not lab & set(files)  # pytest imports them by these names


def test_the_library_under_test_is_the_one_of_this_checkout() -> None:
    """It is installed from its folder: another checkout's virtual environment has that checkout's library."""
    done = subprocess.run(
        [sys.executable, "-c", "import asgi_mtls; print(asgi_mtls.__file__)"], cwd=ROOT, capture_output=True, text=True
    )
    installed = Path(done.stdout.strip())
    assert installed.is_relative_to(ROOT / "asgi-mtls"), done.stdout + done.stderr + "try: make venv-dev"


def test_files_stay_short() -> None:
    long = {str(p): n for p in tracked("*.py", "*.sh", "*.mk") if (n := len(p.read_text().splitlines())) > MAX_LINES}
    assert not {path: lines for path, lines in long.items() if "/tests/" not in path}


def test_every_make_target_is_documented() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.* ## ", (ROOT / "Makefile").read_text(), re.M))
    readme = (ROOT / "README.md").read_text()
    missing = {target for target in targets if not re.search(rf"`make {target}\b|`{target}`", readme)}
    assert not missing


def test_every_knob_of_the_example_is_documented() -> None:
    knobs = re.findall(r"^#([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.M)
    readme = (ROOT / "README.md").read_text()
    assert len(knobs) >= 8
    assert not [knob for knob in knobs if knob not in readme]


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_no_private_key_is_in_the_repository() -> None:
    key = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{32}")
    assert not [path for path in tracked() if path.is_file() and key.search(path.read_text(errors="replace"))]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
    ],
    ids=["lint", "format", "types"],
)
def test_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("script", sorted(p.name for p in (ROOT / "scripts").glob("*.sh")))
def test_scripts_parse(script: str) -> None:
    done = subprocess.run(["sh", "-n", str(ROOT / "scripts" / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
