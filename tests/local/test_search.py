"""`POST /api/v3/search` over a folder: what is read, found, filtered, refused and kept."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from paradigm_local.embedding import Embedder
from paradigm_local.errors import LocalParadigmError, ModelError
from paradigm_local.model import CACHE_VARIABLE
from paradigm_local.search import passages, reading
from paradigm_local.search.embedding import PassageEmbedder
from paradigm_local.search.filters import has_attributes, has_content_type
from paradigm_local.search.folder import Description
from paradigm_local.search.index import Index, build_index
from tests.local.conftest import Caller
from tests.local.fake import FakeEngine, FakePassageEmbedder, Served

FILES = {
    "handbook.md": "# Handbook\n\nA hound may come to the office.\n\n## Pay\n\nThe salary arrives on the 25th.",
    "hr/leave.txt": "Holidays are booked in the portal.\fParental leave takes six months.\n",
    "hr/site.html": "<html><head><title>Our  site</title><style>p{}</style></head><body><h1>Sick notes</h1>"
    "<p>Send a <b>note</b> &amp; rest.</p><script>alert('note')</script><table><tr><td>Ada</td><td>7</td></tr></table>",
}

DESCRIPTIONS = {
    "hr/leave.txt": {
        "title": "Leave",
        "tags": ["policy", "hr"],
        "content_types": ["hr:policy"],
        "attributes": {"year": 2024, "valid_from": "2024-06-15", "status": "Active", "topics": ["leave", "health"]},
        "external_id": "e-1",
        "external_metadata": {"owner": "Ada"},
    },
    "hr/site.html": {"tags": ["hr"], "content_types": ["hr"], "attributes": {"year": 2026, "draft": True}},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "search"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of documents."""
    return written(tmp_path / "docs")


def written(folder: Path) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "paradigm.json").write_text(json.dumps(DESCRIPTIONS))
    return folder


class Searcher:
    """Sends searches, by default without scoring of relevance, which is always missing."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.url = caller.paradigm.base_url.removesuffix("/api/v2") + "/api/v3/search"

    def post(
        self, query: Any = "parental leave", headers: dict[str, str] | None = None, **fields: Any
    ) -> httpx.Response:
        body = {"query": query, "relevance_scoring": "none", **fields}
        return self.caller.http.post(self.url, json=body, headers=headers)

    def found(self, *args: Any, **fields: Any) -> list[dict[str, Any]]:
        response = self.post(*args, **fields)
        assert response.status_code == 200, response.text
        return response.json()["results"]

    def names(self, *args: Any, **fields: Any) -> list[str]:
        return [result["source"]["filename"] for result in self.found(*args, **fields)]

    def refused(self, status: int, *args: Any, **fields: Any) -> Any:
        response = self.post(*args, **fields)
        assert response.status_code == status, response.text
        return response.json()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    """A server that searches the folder."""
    place = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(place / "cache"))
        paradigm = Served(FakeEngine(), documents=written(place / "docs"), grace_seconds=0)
        with paradigm:
            caller = Caller(paradigm)
            yield Searcher(caller)
            caller.http.close()


def built(folder: Path, cache: Path, embedder: FakePassageEmbedder | None = None) -> Index:
    return build_index(folder, embedder or FakePassageEmbedder(), cache, lambda done, total: None)


# Results


def test_result_has_the_shape_of_paradigm(search: Searcher) -> None:
    first = search.found("How long is parental leave?", max_results=1)[0]
    assert first.keys() == {"chunk_id", "content", "score", "scores", "source", "workspace"}
    assert first["content"] == "Parental leave takes six months."
    scores = first["scores"]
    assert (scores["vision"], scores["multivector"], scores["relevance"]) == (None, None, None)
    assert 0 < scores["text"] <= 1
    assert scores["keyword"] > 0
    assert first["source"] == {
        "file_id": 2,
        "filename": "leave.txt",
        "title": "Leave",
        "mime_type": "txt",
        "size_bytes": len(FILES["hr/leave.txt"]),
        "page_start": 2,
        "page_end": 2,
        "total_pages": 2,
        "tags": [{"id": 1, "name": "policy"}, {"id": 2, "name": "hr"}],
        "content_types": [
            {
                "path": "hr:policy",
                "label": "policy",
                "attributes": [
                    {"name": name, "value": value} for name, value in DESCRIPTIONS["hr/leave.txt"]["attributes"].items()
                ],
            }
        ],
        "external_metadata": {"external_id": "e-1", "external_url": None, "additional_metadata": {"owner": "Ada"}},
    }
    assert first["workspace"] == {"id": 2, "name": "hr"}


def test_words_and_meaning_both_find(search: Searcher) -> None:
    by_word, by_meaning = search.found("portal"), search.found("wage")
    assert (by_word[0]["content"], by_meaning[0]["source"]["filename"]) == (
        "Holidays are booked in the portal.",
        "handbook.md",
    )
    assert by_meaning[0]["scores"]["keyword"] == 0
    assert by_meaning[0]["content"].endswith("The salary arrives on the 25th.")


def test_results_are_ordered_by_score_and_limited(search: Searcher) -> None:
    scores = [result["score"] for result in search.found("leave office note")]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) > 2
    assert len(search.found("leave office note", max_results=2)) == 2


def test_same_passage_has_the_same_id(search: Searcher) -> None:
    first, again = search.found("portal"), search.found("holidays booked")
    assert first[0]["chunk_id"] == again[0]["chunk_id"]
    assert len({result["chunk_id"] for result in first}) == len(first)


def test_query_of_signs_alone_finds_by_meaning_or_nothing(search: Searcher) -> None:
    assert search.post("?!").status_code == 200


def test_missing_signals_are_warned_of(search: Searcher) -> None:
    def warnings(**fields: Any) -> Any:
        return search.post(**fields).json().get("warnings")

    relevance, vision = ({"code": code, "reason": "model_not_found"} for code in ("relevance", "vision"))
    assert warnings(relevance_scoring="none") is None
    assert warnings(relevance_scoring="scoring_only") == [relevance]
    assert warnings(relevance_scoring="scoring_and_filtering", include_image=True) == [relevance, vision]


def test_images_and_boxes_are_empty_and_only_there_if_asked_for(search: Searcher) -> None:
    (first,) = search.found(max_results=1, include_image=True, include_bboxes=True)
    assert (first["image"], first["bboxes"]) == ({"b64_content": ""}, [])


# Filters


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"workspace_id": [1]}, {"handbook.md"}),
        ({"workspace_id": [2]}, {"leave.txt", "site.html"}),
        ({"workspace_id": [1, 2]}, {"handbook.md", "leave.txt", "site.html"}),
        ({"file_id": [1]}, {"handbook.md"}),
        ({"file_id": [1, 3]}, {"handbook.md", "site.html"}),
        ({"tag_id": [1]}, {"leave.txt"}),
        ({"tag_id": [1, 2]}, {"leave.txt", "site.html"}),
        ({"tag_id": [2], "workspace_id": [2], "content_type": ["hr:policy"]}, {"leave.txt"}),
        ({"content_type": ["hr"]}, {"leave.txt", "site.html"}),
        ({"content_type": ["legal"]}, set()),
        ({"attribute": ["year:>=2025"]}, {"site.html"}),
        ({"attribute": ["year:2024|2026", "draft:true"]}, {"site.html"}),
    ],
)
def test_filters_select_files(search: Searcher, filters: dict[str, Any], names: set[str]) -> None:
    assert set(search.names("leave office note portal salary", **filters)) == names


@pytest.mark.parametrize(
    ("entry", "fits"),
    [
        ("year", True),
        ("color", False),
        ("year:2024", True),
        ("year:2025", False),
        ("year:2023|2024", True),
        ("year:2023,2024", True),
        ("year:>2023", True),
        ("year:>2024", False),
        ("year:>=2024", True),
        ("year:<2024", False),
        ("year:<=2024.5", True),
        ("status:Active", True),
        ("status:active", False),
        ("status:act*", True),
        ("status:*TIV*", True),
        ("status:*x*", False),
        ("topics:health", True),
        ("topics:wealth", False),
        ("valid_from:2024", True),
        ("valid_from:2024-06", True),
        ("valid_from:2024-0", False),
        ("valid_from:>2024-01-01", True),
        ("content_type(hr).year:2024", True),
        ("content_type(hr:policy).year:2024", True),
        ("content_type(legal).year:2024", False),
    ],
)
def test_attributes_are_compared_as_paradigm_does(entry: str, fits: bool) -> None:
    description = Description.model_validate(DESCRIPTIONS["hr/leave.txt"])
    assert has_attributes(description, [entry]) is fits
    assert has_attributes(description, [entry, "year:2024"]) is fits


@pytest.mark.parametrize(
    ("wanted", "has"),
    [
        ("hr", True),
        ("hr:policy", True),
        ("h", False),
        ("hr:pol", False),
        ("hr:pol*", True),
        ("*olic*", True),
        ("?r*", False),
    ],
)
def test_content_types_select_what_is_below_them(wanted: str, has: bool) -> None:
    assert has_content_type(Description(content_types=["hr:policy"]), [wanted, "nothing"]) is has


# Refusals


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"query": ""}, "query", "at least 1"),
        ({"query": "x" * 4001}, "query", "at most 4000"),
        ({"query": 5}, "query", "string"),
        ({"max_results": 0}, "max_results", "greater than or equal to 1"),
        ({"max_results": 101}, "max_results", "less than or equal to 100"),
        ({"workspace_id": 1}, "workspace_id", "array"),
        ({"workspace_id": [1], "file_id": [1]}, "workspace_id", "Cannot be combined with file_id"),
        ({"tag_id": [1], "file_id": [1]}, "tag_id", "Cannot be combined with file_id"),
        ({"mode": "vision"}, "mode", "no images of pages"),
        ({"relevance_scoring": "all"}, "relevance_scoring", "scoring_only"),
    ],
)
def test_wrong_fields_are_refused_with_422(search: Searcher, fields: dict[str, Any], field: str, words: str) -> None:
    refused = search.refused(422, **fields)
    assert refused.keys() == {"id", "code", "error", "detail", "fields"}
    assert refused["code"] == 422
    assert words in refused["fields"][field][0]["detail"]


@pytest.mark.parametrize("filters", [{"workspace_id": [9]}, {"file_id": [9]}, {"tag_id": [9]}, {"workspace_id": []}])
def test_ids_of_nothing_are_refused_with_403(search: Searcher, filters: dict[str, Any]) -> None:
    assert search.refused(403, **filters)["detail"] == "No document has one of these ids."


def test_unknown_fields_are_ignored(search: Searcher) -> None:
    assert search.post(explain=True).status_code == 200


def test_body_that_is_not_json_is_refused(search: Searcher) -> None:
    assert search.caller.http.post(search.url, content=b"{").status_code == 422


def test_server_without_documents_says_so(serve: Callable[..., Caller]) -> None:
    refused = Searcher(serve()).refused(404)
    assert "--documents FOLDER" in refused["detail"]


def test_key_is_taken_as_bearer_or_as_x_api_key(search: Searcher) -> None:
    def status(**headers: str) -> int:
        return httpx.post(search.url, json={"query": "x"}, headers=headers, timeout=60).status_code

    assert status(**{"X-Api-Key": "local"}) == status(Authorization="Bearer local") == 200
    assert status(**{"X-Api-Key": "wrong"}) == status(Authorization="Basic local") == status() == 401


@pytest.mark.parametrize(("fault", "status"), [("429=3", 429), ("503", 503), ("error", 500), ("slow=0", 200)])
def test_faults_happen_to_searches(search: Searcher, fault: str, status: int) -> None:
    search.caller.paradigm.fail_next(fault)
    response = search.post()
    assert response.status_code == status
    assert response.headers.get("retry-after") == ("3" if status == 429 else None)
    assert search.post().status_code == 200


def test_model_that_cannot_be_loaded_is_503(search: Searcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object, text: str) -> list[float]:
        raise ModelError("The model could not be downloaded.")

    monkeypatch.setattr(FakePassageEmbedder, "embed_query", fail)
    assert search.refused(503) == {"detail": "The model could not be downloaded."}


def test_fault_cuts_the_connection(search: Searcher) -> None:
    search.caller.paradigm.fail_next("cut")
    with pytest.raises(httpx.HTTPError):
        search.post()


# Reading


def test_html_is_read_without_markup(folder: Path, cache: Path) -> None:
    (site,) = [each for each in built(folder, cache).documents if each.file.kind == "html"]
    (passage,) = site.stored.passages
    assert site.stored.title == "Our site"
    assert passage.text.split() == ["Sick", "notes", "Send", "a", "note", "&", "rest.", "Ada", "7"]


def test_title_of_markdown_is_its_first_heading() -> None:
    assert reading.read(b"text\n# One #\n# Two", "md").title == "One #"
    assert reading.read(b"text", "md").title is None


@pytest.mark.parametrize(
    "data",
    [
        "Besançon".encode(),
        "\ufeffBesançon".encode(),
        "Besançon".encode("cp1252"),
        "\ufeffBesançon".encode("utf-16-le"),
        "\ufeffBesançon".encode("utf-16-be"),
    ],
)
def test_text_is_decoded(data: bytes) -> None:
    assert reading.read(data, "txt").pages == ["Besançon"]


def test_files_that_are_left_out_are_named_with_the_reason(folder: Path, cache: Path) -> None:
    (folder / "scan.txt").write_text(" \n\f")
    (folder / "letter.docx").write_bytes(b"PK")
    (folder / "README").write_text("no ending")
    (folder / ".hidden.md").write_text("hidden")
    (folder / ".git").mkdir()
    (folder / ".git" / "config.txt").write_text("hidden")
    (folder / "link.md").symlink_to(folder / "handbook.md")
    with (folder / "large.txt").open("wb") as file:
        file.truncate(25_000_001)
    index = built(folder, cache)
    assert index.left_out == {
        "README": "no ending: only text, Markdown, HTML and PDF are read",
        "large.txt": "larger than 25 MB",
        "letter.docx": ".docx: only text, Markdown, HTML and PDF are read",
        "scan.txt": "it has no text; images are not read",
    }
    assert len(index.documents) == 3
    assert index.describe().splitlines() == [
        "Documents: 3; passages: 5; workspaces: docs (1), hr (2)",
        *[f"Left out {name}: {reason}" for name, reason in index.left_out.items()],
    ]


def test_file_that_may_not_be_read_is_left_out(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "leave.txt":
            raise PermissionError(13, "Permission denied")
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert built(folder, cache).left_out == {"hr/leave.txt": "it cannot be read: Permission denied"}


def test_folder_inside_that_may_not_be_read_is_left_out(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_scandir(monkeypatch, folder / "hr")
    (folder / "paradigm.json").unlink()
    index = built(folder, cache)
    assert index.left_out == {"hr": "it cannot be read: Permission denied"}
    assert len(index.documents) == 1


def test_folder_that_may_not_be_read_is_an_error(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_scandir(monkeypatch, folder)
    with pytest.raises(LocalParadigmError, match="docs cannot be read: Permission denied"):
        built(folder, cache)


def refuse_scandir(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    scandir = os.scandir

    def scan(path: Any) -> Any:
        if Path(path) == refused:
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)


def test_file_that_goes_away_while_it_is_listed_is_left_out(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def vanish(path: Path, **options: bool) -> os.stat_result:
        if path.name == "handbook.md":
            raise FileNotFoundError(2, "No such file or directory")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", vanish)
    assert built(folder, cache).left_out == {"handbook.md": "it cannot be read: No such file or directory"}


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_file_with_a_name_that_is_not_text_is_left_out(folder: Path, cache: Path) -> None:
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.md"))).write_text("Coffee is free.")
    index = built(folder, cache)
    assert index.left_out == {"caf?.md": "its name is not UTF-8"}
    assert index.describe().isascii()


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are bytes on Linux alone")
def test_folder_may_have_a_name_that_is_not_text(folder: Path, cache: Path) -> None:
    renamed = folder.rename(os.fsdecode(os.fsencode(folder.parent) + b"/\xe9"))
    assert {document.file.workspace for document in built(renamed, cache).documents} == {"?", "hr"}


def test_folder_without_documents_is_an_error(tmp_path: Path, cache: Path) -> None:
    empty = tmp_path / "empty"
    with pytest.raises(LocalParadigmError, match="is not a folder"):
        built(empty, cache)
    empty.mkdir()
    with pytest.raises(LocalParadigmError, match="holds no text"):
        built(empty, cache)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "wrong at its beginning"),
        ('{"hr/leave.txt": {"tag": []}}', r"wrong at hr/leave\.txt\.tag"),
        ('{"gone.txt": {}}', r"describes gone\.txt, which is not read"),
        ('{"hr/leave.txt": {"external_url": "https://x"}}', r"leave\.txt: external_url and"),
        ('{"hr/leave.txt": {"external_metadata": {"owner": "Ada"}}}', "external_id"),
    ],
)
def test_wrong_descriptions_are_an_error(folder: Path, cache: Path, text: str, words: str) -> None:
    (folder / "paradigm.json").write_text(text)
    with pytest.raises(LocalParadigmError, match=words):
        built(folder, cache)


# Passages


def test_paragraphs_are_gathered_and_sections_begin_a_passage() -> None:
    page = "# T\n\n## A\n\none\n\ntwo\n\n## B\n\nthree"
    assert [each.text for each in passages.split([page])] == ["# T\n\n## A\n\none\n\ntwo", "## B\n\nthree"]


@pytest.mark.parametrize(
    "page",
    ["A sentence of words. " * 200, "word " * 600, "x" * 3000, "文。" * 900, "a\n" * 2000, ("p " * 300 + "\n\n") * 9],
)
def test_passages_are_short_and_lose_nothing(page: str) -> None:
    texts = [each.text for each in passages.split([page])]
    assert max(map(passages.size_of, texts)) <= passages.MAX_SIZE
    assert len(texts) > 1
    assert "".join("".join(texts).split()) == "".join(page.split())


def test_passage_knows_its_page() -> None:
    assert [(each.text, each.page) for each in passages.split(["a", "", "b"])] == [("a", 1), ("b", 3)]


# What is kept


def test_only_new_contents_are_embedded(folder: Path, cache: Path) -> None:
    first, second, third = FakePassageEmbedder(), FakePassageEmbedder(), FakePassageEmbedder()
    built(folder, cache, first)
    assert len(first.embedded) == 5
    (folder / "new.txt").write_text("A new text.")
    (folder / "hr" / "leave.txt").rename(folder / "moved.txt")
    (folder / "paradigm.json").unlink()
    built(folder, cache, second)
    assert second.embedded == ["A new text."]
    assert len(built(folder, cache, third)) == 6
    assert third.embedded == []


def test_other_embedder_embeds_anew(folder: Path, cache: Path) -> None:
    built(folder, cache)
    other = FakePassageEmbedder()
    other.name = "other"
    built(folder, cache, other)
    assert len(other.embedded) == 5


def test_other_file_of_the_same_name_is_another_embedder(tmp_path: Path) -> None:
    names = set()
    for text in ("one", "two"):
        path = tmp_path / text / "e5.gguf"
        path.parent.mkdir()
        path.write_text(text)
        names.add(PassageEmbedder(cast("Embedder", None), "e5", path).name)
    assert len(names) == 2
    assert PassageEmbedder(cast("Embedder", None), "e5").name == "e5"


def test_damaged_store_is_made_anew(folder: Path, cache: Path) -> None:
    built(folder, cache)
    stored = sorted(cache.glob("fake-*/*.npz"))
    stored[0].write_bytes(b"PK")
    stored[1].write_bytes(stored[1].read_bytes()[:-40])
    again = FakePassageEmbedder()
    assert len(built(folder, cache, again)) == 5
    assert again.embedded


def test_descriptions_that_may_not_be_read_are_an_error(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(LocalParadigmError, match=r"paradigm\.json cannot be read: Permission denied"):
        built(folder, cache)


def test_start_that_changes_nothing_writes_nothing(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built(folder, cache)
    monkeypatch.delattr(os, "replace")
    assert len(built(folder, cache)) == 5


@pytest.mark.parametrize("text", ["", "[]", '{"files": {"handbook.md": "one"}}'])
def test_damaged_ids_are_given_anew(folder: Path, cache: Path, text: str) -> None:
    built(folder, cache)
    (ids,) = cache.glob("ids-*.json")
    ids.write_text(text)
    assert [document.file.id for document in built(folder, cache).documents] == [1, 2, 3]
    assert ids.read_text() != text


@pytest.mark.parametrize("is_known", [False, True])
def test_cache_that_cannot_be_written_is_an_error(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, is_known: bool
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if is_known:
        built(folder, cache)
        for ids in cache.glob("ids-*.json"):
            ids.unlink()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(LocalParadigmError, match=r"kept in .*: No space left on device\. Set PARADIGM_LOCAL_CACHE"):
        built(folder, cache)
    assert not [path for path in cache.rglob("*") if path.is_file() and path.suffix not in (".npz", ".json")]


def test_interrupted_start_keeps_what_was_done(folder: Path, cache: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(folder, FakePassageEmbedder(), cache, interrupt)
    again = FakePassageEmbedder()
    built(folder, cache, again)
    assert len(again.embedded) == 3


def test_ids_stay_when_files_come_and_go(folder: Path, cache: Path) -> None:
    def ids(index: Index) -> dict[str, tuple[int, int]]:
        return {each.file.name: (each.file.id, each.file.workspace_id) for each in index.documents}

    before = ids(built(folder, cache))
    (folder / "a-first").mkdir()
    (folder / "a-first" / "text.md").write_text("new")
    after = ids(built(folder, cache))
    assert before.items() < after.items()
    assert after["a-first/text.md"] == (4, 3)


def test_progress_counts_passages(folder: Path, cache: Path) -> None:
    seen: list[tuple[int, int]] = []
    build_index(folder, FakePassageEmbedder(), cache, lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 5)
    assert seen[-1] == (5, 5)
    seen.clear()
    build_index(folder, FakePassageEmbedder(), cache, lambda done, total: seen.append((done, total)))
    assert seen == []
