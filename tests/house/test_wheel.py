"""The wheel, built for real: what it installs, and that it uses its own files wherever it is run from."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# What an application may well have beside its own code. None of it may be taken for ours.
DECOYS = {
    "prompts/repeated.md": "DECOY",
    "prompts/__init__.py": "raise SystemExit('the prompts of the application')",
    "sandbox/seccomp.json": "DECOY",
    "sandbox/__init__.py": "raise SystemExit('the sandbox of the application')",
    "sandbox/guest/__init__.py": "raise SystemExit('the guest of the application')",
    "_prompts/repeated.md": "DECOY",
    "cli.py": "raise SystemExit('the command line of the application')",
}


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # With the installed build backend: an isolated build would fetch one.
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(folder)]
    run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="session")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it lies on the path once it is installed."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """A folder of somebody else's program, with names like ours."""
    for name, text in DECOYS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(command: list[str], *, cwd: Path, path: Path | None = None) -> str:
    """The output of a command that sees `path` before all that is installed. Fails with what it said."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RLM_", "PYTHON"))}
    environment |= {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tracked(*places: str) -> set[str]:
    """The files of the checkout under these places, as far as they belong to it."""
    files = (path for place in places for path in (ROOT / place).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in files if "__pycache__" not in path.parts}


def test_it_installs_one_import_name(names):
    tops = {name.partition("/")[0] for name in names}
    assert "rlm" in tops
    assert all(re.fullmatch(r"rlm_kernel-[^/]+\.dist-info", top) for top in tops - {"rlm"})


def test_it_holds_all_that_runs_and_nothing_else(names):
    code = {name for name in names if name.startswith("rlm/")}
    moved = {re.sub(r"^(sandbox|prompts)/", r"rlm/_\1/", name) for name in tracked("sandbox", "prompts")}
    assert code == tracked("rlm") | moved
    assert {"rlm/_sandbox/Dockerfile", "rlm/_sandbox/seccomp.json", "rlm/_sandbox/requirements.txt"} <= code
    assert {"rlm/view/page/index.html", "rlm/view/page/style.css", "rlm/view/page/app.js"} <= code
    assert {"rlm/_sandbox/guest/agent.py", "rlm/_prompts/root.md", "rlm/py.typed"} <= code


def test_it_runs_beside_an_application_with_names_like_ours(unpacked, application):
    script = """
import json, rlm
from rlm.assets import asset_dir
from rlm.kernels.pins import locked_versions
from rlm.prompts import render
print(json.dumps([rlm.__file__, str(asset_dir("sandbox")), str(asset_dir("prompts")), render("repeated"),
                  "ipykernel" in locked_versions()]))
"""
    package, sandbox, prompts, text, locked = json.loads(
        run([sys.executable, "-c", script], cwd=application, path=unpacked)
    )
    assert package == str(unpacked / "rlm" / "__init__.py")
    assert sandbox == str(unpacked / "rlm" / "_sandbox")
    assert prompts == str(unpacked / "rlm" / "_prompts")
    assert text == (ROOT / "prompts" / "repeated.md").read_text(encoding="utf-8").partition("\n")[2].strip()
    assert locked


def test_its_command_runs_beside_an_application_with_names_like_ours(unpacked, application):
    start = "from rlm.commands import main; main()"
    told = run([sys.executable, "-c", start, "version"], cwd=application, path=unpacked)
    assert told.startswith("rlm-kernel ")
    # The entry point of an installation has the script's folder first on its path, not the working directory.
    assert "ask" in run([sys.executable, "-P", "-c", start, "--help"], cwd=application, path=unpacked)


def test_cli_py_is_the_installed_command(tmp_path):
    installed = Path(sys.executable).with_name("rlm")
    if not installed.exists():
        pytest.fail("rlm is not installed into this environment: make dev")
    told = run([str(installed), "version"], cwd=tmp_path)
    assert told.startswith("rlm-kernel ")
    assert run([sys.executable, str(ROOT / "cli.py"), "version"], cwd=tmp_path) == told
    helped = run([str(installed), "--help"], cwd=tmp_path)
    assert (
        run([sys.executable, str(ROOT / "cli.py"), "--help"], cwd=tmp_path).split("\n", 2)[2:]
        == helped.split("\n", 2)[2:]
    )
