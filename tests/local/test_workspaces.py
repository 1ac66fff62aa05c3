"""Downloads delete their own leftovers, and nothing else in a folder that may be the user's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from paradigm_local.workspaces import ERRORS, MARKER, MODEL, PARENT, workspace

DAY_SECONDS = 24 * 3600

KILLED = f"""
import os, pathlib, signal, sys
from paradigm_local.workspaces import workspace
with workspace(pathlib.Path(sys.argv[1])) as folder:
    (folder / {MODEL!r}).write_bytes(b"half")
    (folder / {ERRORS!r}).touch()
    print(folder, flush=True)
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def make_old(path: Path) -> Path:
    yesterday = time.time() - DAY_SECONDS - 60
    os.utime(path, (yesterday, yesterday))
    return path


@pytest.fixture
def leftover(tmp_path: Path) -> Path:
    """The workspace of a process that was killed more than a day ago."""
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "kill"], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL
    return make_old(Path(killed.stdout.strip()))


def open_and_close(cache: Path) -> None:
    with workspace(cache):
        pass


def test_workspace_leaves_an_empty_cache_empty(tmp_path: Path) -> None:
    with workspace(tmp_path) as folder:
        (folder / MODEL).touch()
        assert folder.is_relative_to(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_workspace_creates_a_missing_cache(tmp_path: Path) -> None:
    open_and_close(tmp_path / "missing" / "cache")
    assert (tmp_path / "missing" / "cache").is_dir()


def test_leftover_of_a_killed_process_is_removed(tmp_path: Path, leftover: Path) -> None:
    open_and_close(tmp_path)
    assert not leftover.exists()
    assert list(tmp_path.iterdir()) == []


def test_young_leftover_is_kept(tmp_path: Path, leftover: Path) -> None:
    os.utime(leftover)
    open_and_close(tmp_path)
    assert leftover.exists()


def test_old_workspace_in_use_by_another_process_is_kept(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), "wait"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        folder = make_old(Path(other.stdout.readline().strip()))
        open_and_close(tmp_path)
        assert (folder / MODEL).read_bytes() == b"half"
        other.communicate("")
    assert not folder.exists()


@pytest.mark.parametrize("name", ["fetch-notes", "fetch-old", "tmp", "wheel"])
def test_old_folder_of_the_user_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").touch()
    make_old(tmp_path / name)
    open_and_close(tmp_path)
    assert (tmp_path / name / "thesis.txt").exists()


def test_old_file_of_the_user_is_kept(tmp_path: Path) -> None:
    (tmp_path / "fetch-list.txt").touch()
    make_old(tmp_path / "fetch-list.txt")
    open_and_close(tmp_path)
    assert (tmp_path / "fetch-list.txt").exists()


def test_folder_without_the_marker_is_kept(tmp_path: Path, leftover: Path) -> None:
    (leftover / MARKER).unlink()
    make_old(leftover)
    open_and_close(tmp_path)
    assert (leftover / MODEL).exists()


def test_leftover_with_a_file_of_the_user_is_kept(tmp_path: Path, leftover: Path) -> None:
    (leftover / "thesis.txt").touch()
    make_old(leftover)
    open_and_close(tmp_path)
    assert (leftover / "thesis.txt").exists()


def test_link_to_a_folder_of_the_user_is_not_followed(tmp_path: Path, leftover: Path) -> None:
    theirs = leftover.rename(tmp_path / "theirs")  # even one that looks like a leftover
    link = tmp_path / PARENT / "link"
    link.symlink_to(theirs)
    open_and_close(tmp_path)
    assert (theirs / MODEL).exists()
    assert link.is_symlink()


def test_link_inside_a_leftover_is_not_followed(tmp_path: Path, leftover: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").touch()
    (leftover / MODEL).unlink()
    (leftover / MODEL).symlink_to(theirs)
    make_old(leftover)
    open_and_close(tmp_path)
    assert not leftover.exists()
    assert (theirs / "thesis.txt").exists()


def test_nothing_is_removed_through_a_linked_parent(tmp_path: Path, leftover: Path) -> None:
    theirs = leftover.parent.rename(tmp_path / "theirs")
    (tmp_path / PARENT).symlink_to(theirs)
    open_and_close(tmp_path)
    assert (theirs / leftover.name / MODEL).exists()
    assert (tmp_path / PARENT).is_symlink()


def test_parent_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / PARENT).touch()
    with pytest.raises(FileExistsError):
        open_and_close(tmp_path)
    assert (tmp_path / PARENT).exists()
