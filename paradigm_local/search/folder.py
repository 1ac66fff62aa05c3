"""A folder of documents: its files, their ids, and what `paradigm.json` says about them.

A folder inside is a workspace; files beside the folders are in the workspace with the name of the whole folder.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from paradigm_local.errors import LocalParadigmError
from paradigm_local.search.reading import KINDS

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

    def __post_init__(self) -> None:
        if self.path.is_file():
            self._known = json.loads(self.path.read_text())

    def of(self, kind: str, name: str) -> int:
        """Return the id of a name, a new one if it has none."""
        ids = self._known.setdefault(kind, {})
        return ids.setdefault(name, len(ids) + 1)

    def save(self) -> None:
        """Write the ids for the next start."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self._known))


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
    if not folder.is_dir():
        raise LocalParadigmError(f"{folder} is not a folder of documents.")
    descriptions = _read_descriptions(folder)
    files: list[File] = []
    left_out = {}
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        kind = KINDS.get(path.suffix.lower())
        if kind is None:
            left_out[name] = f"{path.suffix or 'no ending'}: only text, Markdown, HTML and PDF are read"
        elif path.stat().st_size > MAX_BYTES:
            left_out[name] = f"larger than {MAX_BYTES // 10**6} MB"
        else:
            files.append(_file(path, name, kind, folder, descriptions.pop(name, Description()), ids))
    if descriptions:
        raise LocalParadigmError(f"{folder / DESCRIPTIONS} describes {next(iter(descriptions))}, which is not read.")
    return files, left_out


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place) / name
            if not name.startswith(".") and not path.is_symlink() and path != folder / DESCRIPTIONS:
                yield path


def _file(path: Path, name: str, kind: str, folder: Path, description: Description, ids: Ids) -> File:
    first, slash, _ = name.partition("/")
    workspace = first if slash else folder.resolve().name
    return File(
        path=path,
        name=name,
        kind=kind,
        id=ids.of("files", name),
        workspace_id=ids.of("workspaces", first if slash else ""),
        workspace=workspace,
        description=description,
        tag_ids=[ids.of("tags", tag) for tag in description.tags],
    )


def _read_descriptions(folder: Path) -> dict[str, Description]:
    path = folder / DESCRIPTIONS
    if not path.is_file():
        return {}
    try:
        return dict(_Descriptions.model_validate_json(path.read_bytes()).root)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise LocalParadigmError(f"{path} is wrong at {place or 'its beginning'}: {problem['msg']}.") from None
