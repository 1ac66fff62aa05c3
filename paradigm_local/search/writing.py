"""Files of the cache, each written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from paradigm_local.errors import LocalParadigmError
from paradigm_local.model import CACHE_VARIABLE


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """Write a file and, if needed, its folder. Several processes may do this at once: the last step is a rename.

    Args:
        path: the file to create or replace.

    Yields:
        What to write to.

    Raises:
        LocalParadigmError: the file cannot be written, for example because the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            try:
                yield file
                file.close()
                os.replace(file.name, path)  # noqa: PTH105  of a name
            except BaseException:
                os.unlink(file.name)  # noqa: PTH108  of a name
                raise
    except OSError as error:
        raise LocalParadigmError(
            f"The index of the documents cannot be kept in {path.parent}: {error.strerror}. "
            f"Set {CACHE_VARIABLE} to a folder with free space that you may write to."
        ) from error
