"""The environment, built for real: by this interpreter's pip, into a cache of the test's own."""

import marshal
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rlm.assets import asset_dir
from rlm.errors import SandboxUnavailable
from rlm.kernels import environment, pins
from rlm.kernels.caches import cache_dir
from rlm.kernels.environment import GUEST_ENVIRONMENT, GUEST_PYTHON
from rlm.kernels.filelock import locked


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An environment that was built from nothing, and the progress that was told."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        env = environment.ensure(progress=lines.append)
        yield env, lines


def test_a_second_run_finds_it_at_once(built):
    env, told = built
    lines: list[str] = []
    started = time.perf_counter()
    assert environment.ensure(progress=lines.append) == env
    assert time.perf_counter() - started < 0.1
    assert lines == []
    assert any("installing" in line for line in told)


def test_it_holds_the_locked_versions_and_nothing_of_the_host(built):
    env, _ = built
    assert env.distributions() == pins.locked_versions()
    assert [name for name, _ in env.installed()] == ["numpy", "pandas", "duckdb", "pillow", "pyarrow"]
    home = str(Path.home()).lstrip("/")
    assert not (env.root / home).exists() or not any((env.root / home).rglob("*"))


def test_every_file_can_be_read_by_any_uid_and_none_is_setuid(built):
    env, _ = built
    for folder, names, files in os.walk(env.root):
        for name in (*names, *files):
            status = os.lstat(os.path.join(folder, name))
            if stat.S_ISLNK(status.st_mode):
                target = os.path.normpath(os.path.join(folder, os.readlink(os.path.join(folder, name))))
                assert Path(target).is_relative_to(env.root), name
                assert os.path.exists(target), name
            else:
                assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID), name
                assert status.st_mode & stat.S_IROTH, name
                assert not status.st_mode & stat.S_IWOTH or name == "tmp", name


def test_modules_are_compiled_and_name_their_place_in_the_sandbox(built):
    env, _ = built
    source = env.site / "numpy/__init__.py"
    cached = source.parent / "__pycache__" / f"__init__.{sys.implementation.cache_tag}.pyc"
    data = cached.read_bytes()
    assert int.from_bytes(data[4:8], "little") == 0b01  # by hash, unchecked
    assert marshal.loads(data[16:]).co_filename == "/" + str(source.relative_to(env.root))


def test_two_processes_build_it_once(tmp_path):
    lock = tmp_path / "lock"
    waiting = threading.Event()
    order: list[str] = []

    def second():
        with locked(lock, progress=lambda line: waiting.set()):
            order.append("second")

    with locked(lock):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.fixture
def other_requirements(tmp_path, monkeypatch):
    """A lock file of the test's own in the place of the sandbox's, and an empty cache."""
    path = tmp_path / "requirements.txt"
    shutil.copy(asset_dir("sandbox") / "requirements.txt", path)
    monkeypatch.setattr(pins, "lock_file", lambda: path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return path


def test_changed_requirements_are_another_environment(other_requirements):
    before = environment.locate()
    other_requirements.write_text(other_requirements.read_text() + "# changed\n")
    assert environment.locate().key != before.key


def test_a_wheel_with_another_hash_is_refused_and_nothing_half_built_stays(other_requirements):
    other_requirements.write_text("comm==0.2.3 --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(SandboxUnavailable, match="cannot be installed") as caught:
        environment.ensure()
    assert "\n" not in str(caught.value)
    assert not environment.locate().root.exists()


def test_without_pip_and_uv_the_error_says_what_to_install(other_requirements, monkeypatch):
    monkeypatch.setattr("rlm.kernels.wheels.pip_command", lambda: None)
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name, **options: None if name == "uv" else real(name, **options))
    with pytest.raises(SandboxUnavailable, match="pip or uv"):
        environment.ensure()


def test_prune_keeps_the_current_one_and_those_in_use(built):
    env, _ = built
    stale, fresh = cache_dir("env") / "stale", cache_dir("env") / "fresh"
    stale.mkdir()
    fresh.mkdir()
    os.utime(stale, (1, 1))
    assert environment.prune() == [stale]
    assert fresh.is_dir()
    assert env.root.is_dir()


@pytest.mark.bwrap
def test_it_is_a_whole_root_file_system(built):
    env, _ = built
    code = (
        "import sys, os, ssl, sqlite3, ctypes, lzma, hashlib, numpy, pandas, zmq, ipykernel.kernelapp\n"
        "print(sys.prefix, sys.version.split()[0], flush=True)\n"
        "os.system('seq 1 200000 | tail -n 1; ls -d /home /root /usr/local/lib/python*')"
    )
    settings = [word for name, value in GUEST_ENVIRONMENT.items() for word in ("--setenv", name, value)]
    command = ["bwrap", "--unshare-all", "--ro-bind", str(env.root), "/", "--proc", "/proc", "--dev", "/dev"]
    command += ["--tmpfs", "/tmp", "--clearenv", *settings, GUEST_PYTHON, "-I", "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.stdout.splitlines() == [
        f"/usr/local {sys.version.split()[0]}",
        "200000",
        f"/usr/local/lib/python{env.version}",
    ], ran.stderr
