"""The sandbox image, with a real engine."""

import contextlib
import gc
import json
import shutil
import subprocess
import time

import pytest
from typer.testing import CliRunner

from rlm.assets import asset_dir
from rlm.commands.image import app
from rlm.errors import SandboxUnavailable
from rlm.kernels import engine, guestcode, image


@pytest.fixture
def changed_guest(tmp_path, monkeypatch):
    """A context in which the sandbox's guest has one more file, with this text."""

    @contextlib.contextmanager
    def changed(text):
        guest = tmp_path / "sandbox" / "guest"
        shutil.copytree(asset_dir("sandbox") / "guest", guest)
        (guest / "marker_for_a_test.py").write_text(text)
        with monkeypatch.context() as patch:
            patch.setattr(guestcode, "asset_dir", lambda name: tmp_path / name)
            yield

    return changed


def in_container(tag, code):
    client = engine.connect()
    try:
        output = client.containers.run(
            tag,
            ["/usr/local/bin/python3", "-I", "-c", code],
            network_mode="none",
            read_only=True,
            user="200001:200001",
            cap_drop=["ALL"],
            tmpfs={"/tmp": "size=16m"},
            remove=True,
        )
    finally:
        client.close()
    return output.decode()


@pytest.mark.docker
def test_it_is_found_again_at_once(sandbox_image):
    lines: list[str] = []
    started = time.perf_counter()
    assert image.ensure(progress=lines.append) == sandbox_image
    assert time.perf_counter() - started < 1
    assert lines == []


@pytest.mark.docker
def test_python_the_packages_and_a_shell_work_in_it(sandbox_image):
    code = (
        "import json, os, sys, numpy, pandas, zmq, ipykernel.kernelapp\n"
        "setuid = [os.path.join(d, f) for d, _, fs in os.walk('/', followlinks=False) if not d.startswith('/proc')"
        " for f in fs if os.lstat(os.path.join(d, f)).st_mode & 0o6000]\n"
        "print(json.dumps([os.getcwd(), os.getuid(), os.environ['LANG'], setuid, os.popen('seq 1 200000').read()[-7:],"
        " sorted(os.listdir('/rlm')), os.path.exists('/rlm/guest/agent.py'), '%d.%d' % sys.version_info[:2]]))"
    )
    cwd, uid, lang, setuid, tail, rlm, agent, version = json.loads(in_container(sandbox_image, code))
    assert (cwd, uid, lang, setuid, tail) == ("/tmp", 200001, "C.UTF-8", [], "200000\n")
    assert {"guest", "cgroup"} <= set(rlm)
    assert agent
    assert image.python_of(sandbox_image)[0] == version


@pytest.mark.docker
def test_a_changed_guest_is_a_thin_layer_and_prune_removes_it(sandbox_image, changed_guest):
    with changed_guest(f"value = {time.time_ns()}"):
        started = time.perf_counter()
        tag = image.ensure()
        assert time.perf_counter() - started < 20
    assert tag != sandbox_image
    assert "value" in in_container(tag, "print(open('/rlm/guest/marker_for_a_test.py').read())")
    removed = image.prune()
    assert tag in removed
    assert sandbox_image not in removed
    assert image.ensure() == sandbox_image


@pytest.mark.docker
def test_the_command_prints_the_tag_alone(sandbox_image):
    ran = CliRunner().invoke(app, ["build", "--from-host"], catch_exceptions=False)
    assert ran.exit_code == 0
    assert ran.stdout.startswith("rlm-sandbox:")
    assert len(ran.stdout.splitlines()) == 1


@pytest.mark.docker
def test_a_base_that_cannot_be_pulled_points_to_from_host(tmp_path, monkeypatch):
    sandbox = tmp_path / "sandbox"
    shutil.copytree(asset_dir("sandbox"), sandbox)
    (sandbox / "Dockerfile").write_text("FROM scratch-that-nobody-has:0\n")
    monkeypatch.setattr(image, "asset_dir", lambda name: tmp_path / name)
    with pytest.raises(SandboxUnavailable, match="rlm image build --from-host") as caught:
        image.build(from_host=False)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_without_an_engine_the_error_is_one_clear_line(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxUnavailable, match="Docker engine") as caught:
        image.ensure()
    assert "\n" not in str(caught.value)
    # docker-py leaves the socket that it could not connect to the collector: let it be in this test.
    del caught
    gc.collect()


@pytest.mark.docker
def test_the_guest_starts_from_the_image(sandbox_image):
    """The agent is there, importable under the image's own interpreter, and ends when its stdin does."""
    command = ["docker", "run", "--rm", "-i", "--network=none", "--read-only", "--tmpfs=/tmp", sandbox_image]
    if shutil.which("docker") is None:
        pytest.skip("no docker command line")
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in ran.stderr, ran.stderr
