import stat
import sys

import pytest

from rlm.kernels import guestcode


@pytest.fixture
def sandbox(tmp_path, monkeypatch):
    """A guest package of the test's own, and an empty cache."""
    folder = tmp_path / "sandbox"
    (folder / "guest" / "__pycache__").mkdir(parents=True)
    (folder / "guest" / "__init__.py").write_text("")
    (folder / "guest" / "agent.py").write_text("def where(): return where.__code__.co_filename\n")
    (folder / "guest" / "__pycache__" / "stale.pyc").write_bytes(b"?")
    (folder / "guest" / "agent.py").chmod(0o600)
    monkeypatch.setattr(guestcode, "asset_dir", lambda name: tmp_path / name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def test_the_copy_is_compiled_readable_and_without_the_checkouts_bytecode(sandbox):
    folder = guestcode.prepare()
    tag = sys.implementation.cache_tag
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    pycs = {f"__pycache__/{name}.{tag}.pyc" for name in ("__init__", "agent")}
    assert set(files) == {"__init__.py", "agent.py"} | pycs
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in files.values())
    assert b"/rlm/guest/agent.py" in files[f"__pycache__/agent.{tag}.pyc"].read_bytes()


def test_a_changed_guest_is_another_folder_and_the_old_one_stays(sandbox):
    before = guestcode.prepare()
    assert guestcode.prepare() == before
    (sandbox / "guest" / "agent.py").write_text("changed = True\n")
    after = guestcode.prepare()
    assert after != before
    assert (before / "agent.py").read_text().startswith("def where")
    assert (after / "agent.py").read_text() == "changed = True\n"
