"""The package: built, checked, and tried in clean environments, away from the sources; and real servers.

`make package` runs what is quick, `make test-all` everything but the servers, `make test-servers` those.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "virtualenv"  # pip alone knows the package index that this machine is set up for
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # they are named, and left out

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
DIST = Path("dist").absolute()
LOWEST = Path("constraints/lowest.txt").absolute()

SMOKE = "tests/e2e/installed.py"
NEEDS_LOCAL = "--ignore-glob=*/test_local*"
FITTING = {
    "": ["tests/transport"],
    "langchain": ["tests/langchain", NEEDS_LOCAL],
    "llama-index": ["tests/llama_index", NEEDS_LOCAL],
    "all": ["tests/local"],
}
CORNERS = [(PYTHONS[0], "lowest"), (PYTHONS[-1], "newest")]
WITH_MODELS = [  # which take several minutes, and run at two corners of the matrix
    *["tests/conformance", "tests/e2e", "tests/usage"],
    *[str(path) for path in sorted(Path("tests").glob("l*/test_local*.py"))],
    *["--ignore=tests/e2e/test_site.py", "--ignore=tests/e2e/test_notebooks.py"],  # those need the sources
]
NAMES = ["neither", *list(FITTING)[1:]]
SERVERS = ["vllm", "llama-cpp-python", "litellm"]


@nox.session
def build(session: nox.Session) -> None:
    """Sdist and wheel into dist/, checked."""
    session.install(*_group("package"))
    shutil.rmtree(DIST, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(DIST), silent=True)  # the wheel is built from the sdist
    direct = _own_folder(session, "direct")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(direct), silent=True)
    _same(session, "the wheel from the sdist", _in_wheel(DIST), "the one from the sources", _in_wheel(direct))
    _same(session, "the sdist", _in_sdist(), "what git tracks", _tracked())
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.iterdir())))
    session.run("check-wheel-contents", str(_wheel()))
    for file in sorted(DIST.iterdir()):
        session.log(f"{file.relative_to(Path.cwd())}: {file.stat().st_size / 1000:.0f} kB")


@nox.session(requires=["build"])
@nox.parametrize("extras", ["", "langchain", "llama-index", "langchain,llama-index"], ids=[*NAMES[:3], "both"])
def installed(session: nox.Session, extras: str) -> None:
    """What the package does where only these extras are installed."""
    _install(session, extras, "newest")
    _pytest(session, extras, SMOKE)


@nox.session(requires=["build"])
def typing(session: nox.Session) -> None:
    """What mypy and pyright see of the installed package."""
    _install(session, "langchain,llama-index", "newest", *_group("typing"))
    folder = _unpack(session)
    session.chdir(folder)
    session.run("mypy", "--config-file", "tests/typing/mypy.ini", "tests/typing")
    session.run("pyright", "--project", "tests/typing/pyrightconfig.json", "--pythonpath", _python(session))


@nox.session(python=PYTHONS, requires=["build"])
@nox.parametrize("frameworks", ["lowest", "newest"], ids=["lowest", "newest"])
@nox.parametrize("extras", list(FITTING), ids=NAMES)
def matrix(session: nox.Session, extras: str, frameworks: str) -> None:
    """The tests that fit, on every Python and on the lowest and newest frameworks."""
    companions = _group("local-companions") if extras == "all" else []
    if frameworks == "newest" and extras in ("langchain", "all"):
        companions += _group("langchain-companions")
    _install(session, extras, frameworks, *companions, *_group("test"))
    with_models = WITH_MODELS if extras == "all" and (session.python, frameworks) in CORNERS else []
    _pytest(session, extras, SMOKE, *FITTING[extras], *with_models)


@nox.session(requires=["build"], default=False)
def frameworks(session: nox.Session) -> None:
    """The examples and tests of other frameworks; they need several hundred packages."""
    _install(session, "all", "newest", *_group("frameworks"))
    _pytest(session, "all", "-W", "ignore", "tests/frameworks")  # they leave event loops and sockets open


@nox.session(default=False, reuse_venv=True)
@nox.parametrize("name", SERVERS, ids=SERVERS)
def servers(session: nox.Session, name: str) -> None:
    """The suite of tests/conformance against a real server, which is installed here; LiteLLM needs vLLM's, too."""
    requirements = _group(f"server-{name}")
    if name == "vllm":
        session.run("python", "tests/conformance/install_vllm.py", *requirements)
    else:
        session.install(*requirements)
    environment = Path(session.virtualenv.location).absolute()
    chosen = {"PARADIGM_TEST_SERVER": name, "PARADIGM_TEST_SERVERS": str(environment.parent)}
    if name == "vllm":  # which takes a template with each request
        chosen["PARADIGM_TEST_TEMPLATES"] = str(_real_templates(session, environment / "templates"))
    start = "--timeout=1200"  # a server may take minutes until it answers
    command = [sys.executable, "-m", "pytest", "tests/conformance", start, *session.posargs]
    session.run(*command, env=chosen, external=True)  # by the environment that nox is in, which has the frameworks


def _real_templates(session: nox.Session, folder: Path) -> Path:
    """Return a folder with the chat templates in the sources of llama-cpp-python, which are those of many models."""
    if not folder.exists():
        requirement = _group("server-llama-cpp-python")[0].replace("[server]", "")
        temporary = _own_folder(session, "sources")
        download = ("pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(temporary))
        session.run(*download, requirement)
        (sdist,) = temporary.glob("*.tar.gz")
        with tarfile.open(sdist) as archive:
            for member in archive.getmembers():
                if "/models/templates/" in member.name and member.name.endswith(".jinja"):
                    archive.extract(member, temporary, filter="data")
        shutil.copytree(next(temporary.glob("*/vendor/llama.cpp/models/templates")), folder)
    return folder


def _group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(PROJECT, name))


def _install(session: nox.Session, extras: str, frameworks: str, *beside: str) -> None:
    constraints = ["--constraint", str(LOWEST)] if frameworks == "lowest" else []
    wheel = f"{_wheel()}[{extras}]" if extras else str(_wheel())
    tools = ("pytest", "pytest-timeout", "pytest-xdist[psutil]")
    session.install("--no-compile", wheel, *tools, *beside, *constraints)  # Python compiles what is imported


def _pytest(session: nox.Session, extras: str, *arguments: str) -> None:
    session.chdir(_unpack(session))
    workers = ("--numprocesses", "logical", "--dist", "worksteal")
    session.run("python", "-m", "pytest", "-q", *workers, *arguments, *session.posargs, env={"PARADIGM_EXTRAS": extras})


def _unpack(session: nox.Session) -> Path:
    """The sdist without the packages, so that what is tested can only be what was installed."""
    folder = _own_folder(session, "sdist")
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    for package in PACKAGES:
        shutil.rmtree(root / package)
    return root


def _wheel(folder: Path = DIST) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def _in_wheel(folder: Path) -> set[str]:
    with ZipFile(_wheel(folder)) as archive:
        return set(archive.namelist())


def _in_sdist() -> set[str]:
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()} - {"PKG-INFO"}


def _tracked() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {name for name in listed if not name.startswith(".ci/")}


def _same(session: nox.Session, this: str, found: set[str], that: str, wanted: set[str]) -> None:
    if found != wanted:
        more, fewer = sorted(found - wanted), sorted(wanted - found)
        session.error(f"Only in {this}: {more}; only in {that}: {fewer}")


def _own_folder(session: nox.Session, name: str) -> Path:
    folder = Path(session.virtualenv.location, name).absolute()
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _python(session: nox.Session) -> str:
    return str(Path(session.bin) / "python")
