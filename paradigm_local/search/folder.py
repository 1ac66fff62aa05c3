"""A folder of documents: its files, their ids, and what `paradigm.json` says about them.

A folder inside is a workspace; files beside the folders are in the workspace with the name of the whole folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, ValidationError, model_validator

from paradigm_local.errors import LocalParadigmError
from paradigm_local.search.reading import KINDS
from paradigm_local.search.writing import written

DESCRIPTIONS = "paradigm.json"
MAX_BYTES = 25_000_000
"""The largest file that is read, as at Paradigm."""

Value = str | int | float | bool | list[str]


class Description(BaseModel):
    """What `paradigm.json` says about a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str | None = None
    tags: list[str] = Field(default_factory=list)
    content_types: list[str] = Field(default_factory=list)
    attributes: dict[str, Value] = Field(default_factory=dict)
    external_id: str | None = None
    external_url: str | None = None
    external_metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _external_id_if_needed(self) -> Description:
        if self.external_id is None and (self.external_url is not None or self.external_metadata):
            raise ValueError("external_url and external_metadata need an external_id")
        return self


class _Descriptions(RootModel[dict[str, Description]]):
    """The descriptions of files by their paths within the folder, with `/` between the parts."""


@dataclass(frozen=True)
class File:
    """A file of the folder.

    Attributes:
        path: where it is.
        name: its path within the folder, with `/` between the parts.
        kind: its kind, as in `KINDS`.
        id: its id.
        workspace_id: the id of its workspace.
        workspace: the name of its workspace.
        description: what `paradigm.json` says about it.
        tag_ids: the ids of its tags, in their order.
    """

    path: Path
    name: str
    kind: str
    id: int
    workspace_id: int
    workspace: str
    description: Description
    tag_ids: list[int]


@dataclass
class Ids:
    """The ids of workspaces, files and tags; a name keeps its id.

    Args:
        path: the file that keeps them.
    """

    path: Path
    _known: dict[str, dict[str, int]] = field(default_factory=dict)
    _is_saved: bool = True

    def __post_init__(self) -> None:
        with suppress(OSError, ValidationError):  # missing or damaged: all ids are new
            self._known = _KNOWN.validate_json(self.path.read_bytes())

    def of(self, kind: str, name: str) -> int:
        """Return the id of a name, a new one if it has none."""
        ids = self._known.setdefault(kind, {})
        if name not in ids:
            ids[name] = len(ids) + 1
            self._is_saved = False
        return ids[name]

    def save(self) -> None:
        """Write the ids for the next start, if there are new ones.

        Raises:
            LocalParadigmError: they cannot be written.
        """
        if not self._is_saved:
            with written(self.path) as file:
                file.write(json.dumps(self._known).encode())


_KNOWN = TypeAdapter(dict[str, dict[str, int]])


def files_in(folder: Path, ids: Ids) -> tuple[list[File], dict[str, str]]:
    """List the documents of a folder and of the folders inside, in order of their names.

    Args:
        folder: the folder.
        ids: the ids; new ones are added.

    Returns:
        The files, and the names of those that are left out with the reason. What is hidden, and links, is neither.

    Raises:
        LocalParadigmError: the folder cannot be read, or `paradigm.json` is wrong.
    """
    if not os.path.isdir(folder):  # noqa: PTH112  pathlib's raises an error if a folder above cannot be read
        raise LocalParadigmError(f"{folder} is not a folder of documents.")
    descriptions = _read_descriptions(folder)
    files: list[File] = []
    left_out: dict[str, str] = {}
    for path in _walk(folder, left_out):
        name = path.relative_to(folder).as_posix()
        reason = _reason_to_leave_out(path, name)
        if reason is None:
            files.append(_file(path, name, folder, descriptions.pop(name, Description()), ids))
        else:
            left_out[as_text(name)] = reason
    if descriptions:
        raise LocalParadigmError(f"{folder / DESCRIPTIONS} describes {next(iter(descriptions))}, which is not read.")
    return files, left_out


def as_text(name: str) -> str:
    """Return a name of a file with a question mark for each byte that is not UTF-8."""
    return name.encode(errors="replace").decode()


def _walk(folder: Path, left_out: dict[str, str]) -> Iterator[Path]:
    def leave_out(error: OSError) -> None:
        place = Path(error.filename)
        if place == folder:
            raise LocalParadigmError(f"{folder} cannot be read: {error.strerror}.") from error
        left_out[as_text(place.relative_to(folder).as_posix())] = f"it cannot be read: {error.strerror}"

    for place, folders, names in os.walk(folder, onerror=leave_out):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if not (name.startswith(".") or os.path.islink(path) or path == folder / DESCRIPTIONS):  # noqa: PTH114  raises nothing
                yield path


def _reason_to_leave_out(path: Path, name: str) -> str | None:
    if as_text(name) != name:
        return "its name is not UTF-8"
    if path.suffix.lower() not in KINDS:
        return f"{path.suffix or 'no ending'}: only text, Markdown, HTML and PDF are read"
    try:
        size = path.stat().st_size
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    return f"larger than {MAX_BYTES // 10**6} MB" if size > MAX_BYTES else None


def _file(path: Path, name: str, folder: Path, description: Description, ids: Ids) -> File:
    first, slash, _ = name.partition("/")
    workspace = first if slash else as_text(folder.resolve().name)
    return File(
        path=path,
        name=name,
        kind=KINDS[path.suffix.lower()],
        id=ids.of("files", name),
        workspace_id=ids.of("workspaces", first if slash else ""),
        workspace=workspace,
        description=description,
        tag_ids=[ids.of("tags", tag) for tag in description.tags],
    )


def _read_descriptions(folder: Path) -> dict[str, Description]:
    path = folder / DESCRIPTIONS
    try:
        return dict(_Descriptions.model_validate_json(path.read_bytes()).root)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalParadigmError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise LocalParadigmError(
            f"{path} is wrong at {place or 'its beginning'}: {problem['msg'].removeprefix('Value error, ')}."
        ) from None
