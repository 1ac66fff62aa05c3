"""Temporary folders for model downloads, and the removal of those that killed processes left behind.

``PARADIGM_LOCAL_CACHE`` may name any folder of the user's, even the home folder, so that a name is no reason to delete
anything. A leftover is removed only if it is in the folder that this module creates for itself, has its marker, holds
nothing but the files of a download, is a day old, and is not locked by a running process.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

if sys.platform != "win32":
    import fcntl

PARENT = ".paradigm-local-downloads"
"""Name of the folder for workspaces, inside the cache folder."""

MARKER = "created-by-paradigm-local"
WHEEL, INCOMING, ERRORS, WEIGHTS, MODEL = "wheel", "incoming", "errors", "weights", "model"

_CONTENTS = {MARKER, WHEEL, INCOMING, ERRORS, WEIGHTS, MODEL}
_ABANDONED_AFTER_SECONDS = 24 * 3600


@contextmanager
def workspace(cache: Path) -> Iterator[Path]:
    """Create a temporary folder inside ``cache``, and remove it at the end.

    Args:
        cache: the folder for the model. The workspace is inside it, so that a file can be renamed into place.

    Yields:
        The workspace, for files and folders named `WHEEL`, `INCOMING`, `ERRORS`, `WEIGHTS` and `MODEL`.

    Raises:
        OSError: the folder cannot be created.
    """
    parent = cache / PARENT
    _remove_abandoned(parent)
    try:
        with _temporary_folder(parent) as name, (Path(name) / MARKER).open("w") as marker:
            _lock(marker)  # shows other processes that the workspace is in use
            yield Path(name)
    finally:
        with suppress(OSError):  # not empty: another process has a workspace there
            parent.rmdir()


def _temporary_folder(parent: Path) -> tempfile.TemporaryDirectory[str]:
    while True:
        parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # another process removed the empty parent in between
            return tempfile.TemporaryDirectory(dir=parent)


def _remove_abandoned(parent: Path) -> None:
    """Remove the workspaces of processes that were killed."""
    with suppress(OSError):  # another process removes the same ones, or they belong to another user
        if not parent.is_symlink():
            for folder in parent.iterdir():
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(folder: Path) -> bool:
    marker = folder / MARKER
    if folder.is_symlink() or not marker.is_file():
        return False
    if not {entry.name for entry in folder.iterdir()} <= _CONTENTS:
        return False
    if time.time() - folder.stat().st_mtime <= _ABANDONED_AFTER_SECONDS:
        return False
    with marker.open() as file:
        return _lock(file)


def _lock(file: TextIO) -> bool:
    """Lock a file until it is closed. Return False if another process holds the lock."""
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
