"""The local Paradigm as an object: started in a thread, and stopped at the end of a `with` block."""

import errno
import math
import os
import re
import socket
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from paradigm_local.contract import Usage
from paradigm_local.errors import LocalParadigmError, PortError
from paradigm_local.faults import Faults, RateLimit, read_fault
from paradigm_local.hosts import is_loopback, read_host
from paradigm_local.ledger import Ledger
from paradigm_local.model import E5_SMALL, SMOLLM2, ModelSource, cache_folder, check_model, default_model

if TYPE_CHECKING:
    import uvicorn
    from typing_extensions import Self

    from paradigm_local.embedding import Embedder
    from paradigm_local.engine import Engine
    from paradigm_local.search.index import Index, TextEmbedder

DEFAULT_API_KEY = "local"
DEFAULT_CONTEXT = 4096
DEFAULT_PARALLEL = 4
DEFAULT_QUEUE = 64
LOOPBACK = "127.0.0.1"

_TEMPLATE = Path(__file__).with_name("chatml_tools.jinja")

_SPARE_CONNECTIONS = 256
_MAX_INCOMPLETE_BYTES = 64 << 10  # above the limit of RequestGuard, whose refusal explains itself

_KEY = re.compile("[!-~]+")
"""What a client can send as a key: ASCII that is visible."""

_MAX_PORT = 2**16 - 1
_POLL_SECONDS = 0.01
_FINAL_ERROR_SECONDS = 2


class LocalParadigm:
    """Paradigm's endpoints over real small models, in this process.

    ```python
    from langchain_paradigm import ParadigmLLM
    from paradigm_local import LocalParadigm

    with LocalParadigm() as paradigm:
        llm = ParadigmLLM(model=paradigm.model, api_key=paradigm.api_key, base_url=paradigm.base_url)
        llm.invoke("The capital of France is", max_tokens=5)
    ```

    Args:
        model: a GGUF file, whose own template writes chats; by default SmolLM2-135M-Instruct, which is downloaded once.
        embedding_model: a GGUF file of a model that embeds texts; by default multilingual-e5-small, which is
            downloaded and loaded when the first text is to be embedded.
        host: the address to listen on.
        port: the port to listen on; 0 picks a free one.
        api_key: the key that clients must send.
        context: maximum number of tokens of a prompt and its completion together.
        parallel: number of completions that are generated at once.
        queue: number of further requests that may wait; beyond them, requests are refused with 429.
        ping_seconds: silence after which a stream sends a comment, in seconds.
        grace_seconds: time that running requests have to finish when the server stops, in seconds.
        faults: whether clients may request faults with the header `X-Paradigm-Fault`.
        allowed_hosts: host names and addresses that clients may use besides loopback ones and ``host``, such as the
            name of this machine in its network.
        documents: a folder of text, Markdown, HTML and PDF to search. What is new in it is embedded when the server
            starts.

    Raises:
        LocalParadigmError: ``host`` is not a loopback address and there is no ``api_key``, no client can send that
            key, or one of ``allowed_hosts`` is not a host.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        embedding_model: str | Path | None = None,
        host: str = LOOPBACK,
        port: int = 0,
        api_key: str = DEFAULT_API_KEY,
        context: int = DEFAULT_CONTEXT,
        parallel: int = DEFAULT_PARALLEL,
        queue: int = DEFAULT_QUEUE,
        ping_seconds: float = 15,
        grace_seconds: float = 3,
        faults: bool = False,
        allowed_hosts: Iterable[str] = (),
        documents: str | Path | None = None,
    ) -> None:
        if api_key == DEFAULT_API_KEY and not is_loopback(host):
            raise LocalParadigmError(
                f"The key {DEFAULT_API_KEY!r} is for this machine only: "
                f"set another one (--api-key) to listen on {host}."
            )
        if not _KEY.fullmatch(api_key):
            raise LocalParadigmError(
                f"The key (--api-key) {'has characters that no header can carry' if api_key else 'is empty'}: "
                "use ASCII letters, digits and signs, without spaces."
            )
        self.api_key = api_key
        self.model = Path(model).stem if model else SMOLLM2.name
        self.embedding_model = Path(embedding_model).stem if embedding_model else E5_SMALL.name
        self._file = Path(model) if model else None
        self._embedding_file = Path(embedding_model) if embedding_model else None
        self._address = (host, port)
        self._allowed_hosts = [host.lower(), *map(read_host, allowed_hosts)]
        self._context = context
        self._parallel = parallel
        self._max_requests = parallel + queue
        self._ping_seconds = ping_seconds
        self._grace_seconds = grace_seconds
        self._faults = Faults(faults)
        self._ledger = Ledger()
        self._documents = None if documents is None else Path(documents)
        self._index: Index | None = None
        self._server: uvicorn.Server | None = None

    @property
    def base_url(self) -> str:
        """The URL for clients, with `/api/v2`; the port is known once the server has started."""
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/api/v2"

    @property
    def index(self) -> "Index | None":
        """The documents that are searched; None without documents, and before the server starts."""
        return self._index

    @property
    def usage(self) -> list[Usage]:
        """The usage of each request, as the server counted it; the last 10,000."""
        return self._ledger.usages

    @property
    def total_usage(self) -> Usage:
        """The usage of all requests together."""
        return self._ledger.total

    @property
    def is_running(self) -> bool:
        """Whether the server is running."""
        return self._server is not None and self._thread.is_alive()

    def fail_next(self, fault: str, times: int = 1) -> None:
        """Make the next replies fail. Each completion, embedding or search uses up one fault.

        Args:
            fault: `429`, `503`, `cut`, `error` or `slow`, optionally with an amount, as in `slow=2.5`.
            times: number of replies.

        Raises:
            ValueError: the fault is unknown.
        """
        self._faults.add(read_fault(fault), times)

    def limit_requests(self, per_second: float | None) -> None:
        """Refuse requests that come faster than this with 429. At first, those of one second are accepted at once.

        Args:
            per_second: the number of completions, embeddings and searches that are accepted a second; None for no
                limit.

        Raises:
            ValueError: the number is not above 0.
        """
        if per_second is not None and not per_second > 0:
            raise ValueError(f"per_second must be above 0, not {per_second!r}")
        self._faults.limit = None if per_second is None else RateLimit(per_second)

    def clear_faults(self) -> None:
        """Remove the faults that were requested and have not happened yet."""
        self._faults.clear()

    def start(self) -> None:
        """Load the model and start the server; returns when it accepts requests.

        Raises:
            ModelError: the model is missing or damaged, or cannot be downloaded.
            PortError: the server cannot listen on the address.
            LocalParadigmError: a package of the extra `local` is not installed, or cannot be loaded.
        """
        with ExitStack() as opened:
            listener = opened.enter_context(_listen(*self._address))
            try:
                server = self._server = self._load(opened)
            except ModuleNotFoundError as error:
                raise LocalParadigmError(
                    f"{error.name} is not installed: run `pip install 'paradigm-llm[local]'`."
                ) from error
            except ImportError as error:  # of a compiled module, such as xllamacpp in an image without OpenMP
                raise LocalParadigmError(
                    f"{error.name} cannot be loaded ({error}): install what it needs from the system; "
                    "on Debian and Ubuntu, `apt-get update && apt-get install libgomp1`."
                ) from error
            opened.pop_all()
        self._address = listener.getsockname()[:2]
        self._thread = threading.Thread(target=server.run, args=([listener],), name="paradigm-local", daemon=True)
        self._thread.start()
        while self._thread.is_alive() and not server.started:
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server; requests that have not finished after `grace_seconds` end with an error."""
        if self._server is None:
            return
        self._server.should_exit = True
        self._thread.join(self._grace_seconds)
        self._endpoint.interrupt()
        self._thread.join()
        self._engine.close()
        self._embedder.close()
        self._server = None

    def __enter__(self) -> "Self":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _load(self, opened: ExitStack) -> "uvicorn.Server":
        """Load what is served; `opened` gets what must be closed if any of it cannot be loaded."""
        if self._embedding_file is not None:
            check_model(self._embedding_file)  # now, not when the first text arrives
        self._embedder = self._make_embedder()
        opened.callback(self._embedder.close)
        if self._documents is not None:
            self._index = self._load_index(self._documents)
            self._embedder.pool.submit(self._embedder.embed, "query")  # loads the model before the first query
        self._engine = self._load_engine()
        opened.callback(self._engine.close)
        return self._create_server()

    def _load_engine(self) -> "Engine":
        path = _find_model(self._file, SMOLLM2)
        # Imported here, since it is only installed with the extra `local`.
        from paradigm_local.engine import Engine

        # The default model's own template knows no tools.
        chat_template = None if self._file else _TEMPLATE.read_text()
        return Engine(path, self._context, self._parallel, chat_template)

    def _load_index(self, folder: Path) -> "Index":
        # Imported here, since only a search needs them.
        from paradigm_local.search.index import build_index
        from paradigm_local.search.progress import show_progress

        with show_progress(folder) as progress:
            return build_index(folder, self._make_passage_embedder(), cache_folder() / "search", progress)

    def _make_passage_embedder(self) -> "TextEmbedder":
        from paradigm_local.search.embedding import PassageEmbedder

        return PassageEmbedder(self._embedder, self.embedding_model, self._embedding_file)

    def _make_embedder(self) -> "Embedder":
        from paradigm_local.embedding import Embedder

        return Embedder(partial(_find_model, self._embedding_file, E5_SMALL))

    def _create_server(self) -> "uvicorn.Server":
        import uvicorn

        from paradigm_local.limits import BoundedProtocol
        from paradigm_local.server import Endpoint, Service

        service = Service(
            engine=self._engine,
            model=self.model,
            embedder=self._embedder,
            embedding_model=self.embedding_model,
            api_key=self.api_key,
            max_requests=self._max_requests,
            ping_seconds=self._ping_seconds,
            ledger=self._ledger,
            faults=self._faults,
            allowed_hosts=self._allowed_hosts,
            documents=self._index,
        )
        self._endpoint = Endpoint(service)
        config = uvicorn.Config(
            self._endpoint.app(),
            log_config=None,
            lifespan="off",
            ws="none",
            http=BoundedProtocol,
            limit_concurrency=self._max_requests + _SPARE_CONNECTIONS + 1,  # refuses from this number on
            h11_max_incomplete_event_size=_MAX_INCOMPLETE_BYTES,
            # For clients that do not read the final error.
            timeout_graceful_shutdown=math.ceil(self._grace_seconds) + _FINAL_ERROR_SECONDS,
        )
        return uvicorn.Server(config)


def _find_model(file: Path | None, default: ModelSource) -> Path:
    return check_model(file) if file else default_model(default)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _MAX_PORT:
        raise _port_error(host, port, f"the highest port is {_MAX_PORT}", _OTHER_PORT)
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise _port_error(host, port, str(error.strerror), _OWN_HOST) from error
    except UnicodeError as error:
        raise _port_error(host, port, "not the name of a host", _OWN_HOST) from error
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        advice = _OWN_HOST if error.errno == errno.EADDRNOTAVAIL else _OTHER_PORT
        raise _port_error(host, port, os.strerror(error.errno or 0), advice) from error


_OTHER_PORT = "choose another with --port; 0 picks one"
_OWN_HOST = "--host must be a name or an address of this machine"


def _port_error(host: str, port: int, reason: str, advice: str) -> PortError:
    return PortError(f"Cannot listen on {host}:{port} ({reason}): {advice}.")
