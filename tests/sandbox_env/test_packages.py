"""Packages, with the real pip against wheels that are made here: no test needs the network."""

import asyncio
import os
import socket
import stat
import subprocess
import sys
import tarfile
import zipfile

import pytest

from rlm.errors import ConfigError, SandboxError
from rlm.kernels import packages, pins
from rlm.kernels.packages import Target

NUMPY = pins.locked_versions()["numpy"]


def wheel(folder, name, version="1.0", *, files, requires=(), tag="py3-none-any"):
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += "".join(f"Requires-Dist: {line}\n" for line in requires)
    members = {
        **files,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
    }
    record = "".join(f"{path},,\n" for path in members) + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as archive:
        for path, text in {**members, f"{info}/RECORD": record}.items():
            archive.writestr(path, text)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that takes the package index's place, and a cache of the test's own."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "numpy", NUMPY, files={"numpy/__init__.py": "raise ImportError('shadows the sandbox')"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def entries(path):
    return sorted(entry.name for entry in path.iterdir())


async def test_installs_with_dependencies_but_not_what_the_sandbox_holds(index, tmp_path):
    wheel(index, "alpha", files={"alpha.py": "import beta; value = beta.value"}, requires=["beta", "numpy>=2"])
    wheel(index, "beta", "2.5", files={"beta/__init__.py": "value = 7"})
    installed = await packages.install(["alpha", "numpy"])
    assert installed.distributions == (("alpha", "1.0"), ("beta", "2.5"))
    assert installed.requested == (("alpha", "1.0"), ("numpy", NUMPY))
    assert entries(installed.path) == ["__pycache__", "alpha-1.0.dist-info", "alpha.py", "beta", "beta-2.5.dist-info"]
    code = (
        f"import sys; sys.path.insert(0, {str(installed.path)!r}); import alpha; print(alpha.value, alpha.__cached__)"
    )
    ran = await asyncio.to_thread(subprocess.run, [sys.executable, "-I", "-c", code], capture_output=True, text=True)
    assert ran.stdout.startswith("7 ")
    for folder, _, files in os.walk(installed.path):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o755
        assert all(os.stat(os.path.join(folder, name)).st_mode & 0o444 == 0o444 for name in files)


async def test_the_second_request_needs_neither_pip_nor_index(index, monkeypatch):
    wheel(index, "alpha", files={"alpha.py": ""})
    first = await packages.install(["alpha"])
    (index / "alpha-1.0-py3-none-any.whl").unlink()
    monkeypatch.setattr(packages, "_run", None)
    assert await packages.install([" ALPHA ".strip().lower()]) == first


async def test_what_the_sandbox_holds_needs_no_pip_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(packages, "_run", None)
    installed = await packages.install(["NumPy", "pandas"])
    assert installed.distributions == ()
    assert [name for name, _ in installed.requested] == ["numpy", "pandas"]
    assert entries(installed.path) == []


async def test_a_conflict_with_the_sandbox_names_both_sides(index):
    wheel(index, "old", files={"old.py": ""}, requires=["numpy<2"])
    with pytest.raises(SandboxError, match=f"(?s)numpy<2.*numpy=={NUMPY}"):
        await packages.install(["old"])


async def test_an_unknown_name_is_one_line(index):
    with pytest.raises(SandboxError, match="No matching distribution found for nowhere") as caught:
        await packages.install(["nowhere"])
    assert "\n" not in str(caught.value)


async def test_source_distributions_never_run(index, tmp_path):
    touched = tmp_path / "touched"
    source = tmp_path / "evil-1.0"
    source.mkdir()
    (source / "setup.py").write_text(f"open({str(touched)!r}, 'w')\nfrom setuptools import setup\nsetup(name='evil')")
    with tarfile.open(index / "evil-1.0.tar.gz", "w:gz") as archive:
        archive.add(source, "evil-1.0")
    with pytest.raises(SandboxError, match="evil"):
        await packages.install(["evil"])
    assert not touched.exists()


async def test_options_are_refused_before_pip_sees_them(index, monkeypatch):
    monkeypatch.setattr(packages, "_run", None)
    with pytest.raises(ConfigError):
        await packages.install(["alpha", "--extra-index-url=http://evil.example"])


async def test_a_pip_in_the_working_directory_is_not_run(index, tmp_path, monkeypatch):
    hostile = tmp_path / "project"
    hostile.mkdir()
    (hostile / "pip.py").write_text("raise SystemExit('hijacked')")
    monkeypatch.chdir(hostile)
    wheel(index, "alpha", files={"alpha.py": ""})
    assert (await packages.install(["alpha"])).distributions == (("alpha", "1.0"),)


async def test_wheels_are_chosen_for_the_sandboxs_python_not_the_hosts(index):
    other = "3.13" if sys.version_info[:2] != (3, 13) else "3.12"
    tags = {other: "other", f"3.{sys.version_info[1]}": "host"}
    for version, value in tags.items():
        cp = "cp" + version.replace(".", "")
        tag = f"{cp}-{cp}-manylinux_2_28_aarch64" if value == "other" else f"{cp}-{cp}-manylinux_2_17_x86_64"
        wheel(index, "native", files={"native.py": f"value = {value!r}"}, tag=tag)
    installed = await packages.install(["native"], target=Target(python=other, machine="aarch64"))
    assert (installed.path / "native.py").read_text() == "value = 'other'"


async def test_adding_to_a_mounted_folder_keeps_what_is_there(index, tmp_path):
    into = tmp_path / "run" / "packages"
    wheel(index, "one", files={"shared/one.py": "value = 1"})
    wheel(index, "two", files={"shared/two.py": "value = 2"}, requires=["one"])
    await packages.install(["one"], into=into)
    inode = (into / "shared").stat().st_ino
    # A newer version of what is in use must not replace it.
    wheel(index, "one", "2.0", files={"shared/one.py": "value = 'new'"})
    second = await packages.install(["two"], into=into)
    assert second.path == into
    assert second.distributions == (("two", "1.0"),)
    assert (into / "shared").stat().st_ino == inode
    assert (into / "shared/one.py").read_text() == "value = 1"
    assert (into / "shared/two.py").read_text() == "value = 2"
    assert "two-1.0.dist-info" in entries(into)
    assert entries(into.parent) == ["packages"]


async def test_a_failed_request_changes_nothing(index, tmp_path):
    into = tmp_path / "packages"
    wheel(index, "one", files={"one.py": ""})
    await packages.install(["one"], into=into)
    before = entries(into)
    with pytest.raises(SandboxError):
        await packages.install(["nowhere"], into=into)
    assert entries(into) == before
    assert all(not name.startswith(".") for name in entries(tmp_path / "cache/rlm/packages"))


async def test_cancelling_ends_pip(index, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as stalling:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{stalling.getsockname()[1]}/simple")
        stalling.setblocking(False)
        task = asyncio.create_task(packages.install(["alpha"]))
        connection, _ = await asyncio.wait_for(asyncio.get_running_loop().sock_accept(stalling), 20)
        with connection:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            connection.settimeout(5)
            while connection.recv(65536):  # the end of the stream: its client is gone
                pass


async def test_a_stalling_index_is_given_up(index, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as stalling:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{stalling.getsockname()[1]}/simple")
        with pytest.raises(SandboxError, match="within 2 s"):
            await packages.install(["alpha"], timeout=2)


async def test_prune_removes_what_no_run_used_for_a_day(index):
    wheel(index, "alpha", files={"alpha.py": ""})
    wheel(index, "beta", files={"beta.py": ""})
    old = (await packages.install(["alpha"])).path
    new = (await packages.install(["beta"])).path
    os.utime(old, (1, 1))
    assert packages.prune() == [old]
    assert new.is_dir()
