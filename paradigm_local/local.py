"""The local Paradigm as an object: started in a thread, stopped at the end of a `with`."""

import math
import socket
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from paradigm_local.contract import Usage
from paradigm_local.errors import LocalParadigmError, PortError
from paradigm_local.faults import Faults, read_fault
from paradigm_local.hosts import is_loopback, read_host
from paradigm_local.ledger import Ledger
from paradigm_local.model import SMOLLM2, default_model, own_model

if TYPE_CHECKING:
    import uvicorn
    from typing_extensions import Self

    from paradigm_local.engine import Engine

DEFAULT_API_KEY = "local"
DEFAULT_CONTEXT = 4096
DEFAULT_PARALLEL = 4
DEFAULT_QUEUE = 64
LOOPBACK = "127.0.0.1"

_SPARE_CONNECTIONS = 256
_MOST_UNREAD_BYTES = 64 << 10  # above the limit of RequestGuard, whose refusal has a reason

_LAST_PORT = 2**16 - 1
_POLL_SECONDS = 0.01
_LAST_WORDS_SECONDS = 2


class LocalParadigm:
    """The completions endpoint over a real model, in this process.

    ```python
    from langchain_paradigm import ParadigmLLM
    from paradigm_local import LocalParadigm

    with LocalParadigm() as paradigm:
        llm = ParadigmLLM(model=paradigm.model, api_key=paradigm.api_key, base_url=paradigm.base_url)
        llm.invoke("The capital of France is", max_tokens=5)
    ```

    Args:
        model: a GGUF file; by default SmolLM2-135M-Instruct, which is fetched once.
        host: the address to listen on.
        port: the port to listen on; 0 picks a free one.
        api_key: the key that clients must send.
        context: tokens that a prompt and its completion may have together.
        parallel: how many completions are generated at once.
        queue: how many requests may wait beside; more are refused with 429.
        ping_seconds: the silence after which a stream gets a comment, in seconds.
        grace_seconds: how long answers on their way may go on when the server ends, in seconds.
        faults: whether clients may ask for faults with the header `X-Paradigm-Fault`.
        allowed_hosts: host names and addresses that clients may use besides loopback ones and ``host``, such as the
            name of this machine in its network.

    Raises:
        LocalParadigmError: ``host`` is not a loopback address and there is no ``api_key``, or one of ``allowed_hosts``
            is not a host.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
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
    ) -> None:
        if api_key == DEFAULT_API_KEY and not is_loopback(host):
            raise LocalParadigmError(
                f"The key {DEFAULT_API_KEY!r} is for this machine only: "
                f"give a key of your own (--api-key) to listen on {host}."
            )
        self.api_key = api_key
        self.model = Path(model).stem if model else SMOLLM2.name
        self._file = Path(model) if model else None
        self._address = (host, port)
        self._allowed_hosts = [host.lower(), *map(read_host, allowed_hosts)]
        self._context = context
        self._parallel = parallel
        self._most_requests = parallel + queue
        self._ping_seconds = ping_seconds
        self._grace_seconds = grace_seconds
        self._faults = Faults(faults)
        self._ledger = Ledger()
        self._server: uvicorn.Server | None = None

    @property
    def base_url(self) -> str:
        """The URL for clients, with `/api/v2`; the port is known once the server has started."""
        host, port = self._address
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/api/v2"

    @property
    def usage(self) -> list[Usage]:
        """What the server counted, request by request; the last 10,000."""
        return self._ledger.usages

    @property
    def total_usage(self) -> Usage:
        """What the server counted in all."""
        return self._ledger.total

    @property
    def is_running(self) -> bool:
        """Whether the server answers."""
        return self._server is not None and self._thread.is_alive()

    def fail_next(self, fault: str, times: int = 1) -> None:
        """Let the next answers go wrong; each is used up by one request for completions.

        Args:
            fault: `429`, `503`, `cut`, `error` or `slow`, also with an amount as in `slow=2.5`.
            times: how many answers.

        Raises:
            ValueError: there is no such fault.
        """
        self._faults.add(read_fault(fault), times)

    def clear_faults(self) -> None:
        """Forget the faults that were asked for and have not happened."""
        self._faults.clear()

    def start(self) -> None:
        """Load the model and serve; returns as soon as requests are answered.

        Raises:
            ModelError: the model is missing, damaged or cannot be fetched.
            PortError: the address cannot be had.
            LocalParadigmError: what it needs is not installed.
        """
        listener = _listen(*self._address)
        try:
            self._engine = self._load()
            self._server = self._uvicorn()
        except ImportError as error:
            listener.close()
            raise LocalParadigmError(
                f"{error.name} is missing: install the local Paradigm with `pip install 'paradigm-llm[local]'`."
            ) from error
        except BaseException:
            listener.close()
            raise
        self._address = listener.getsockname()[:2]
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="paradigm-local", daemon=True)
        self._thread.start()
        while self._thread.is_alive() and not self._server.started:
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop serving; answers that have not ended after the time of grace end with an error."""
        if self._server is None:
            return
        self._server.should_exit = True
        self._thread.join(self._grace_seconds)
        self._endpoint.interrupt()
        self._thread.join()
        self._engine.close()
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

    def _load(self) -> "Engine":
        path = own_model(self._file) if self._file else default_model()
        # Imported late: the adapters' users need none of it.
        from paradigm_local.engine import Engine

        return Engine(path, self._context, self._parallel)

    def _uvicorn(self) -> "uvicorn.Server":
        import uvicorn

        from paradigm_local.limits import BoundedProtocol
        from paradigm_local.server import Endpoint, Service

        service = Service(
            engine=self._engine,
            model=self.model,
            api_key=self.api_key,
            most_requests=self._most_requests,
            ping_seconds=self._ping_seconds,
            ledger=self._ledger,
            faults=self._faults,
            allowed_hosts=self._allowed_hosts,
        )
        self._endpoint = Endpoint(service)
        config = uvicorn.Config(
            self._endpoint.app(),
            log_config=None,
            lifespan="off",
            ws="none",
            http=BoundedProtocol,
            limit_concurrency=self._most_requests + _SPARE_CONNECTIONS + 1,  # refuses from this number on
            h11_max_incomplete_event_size=_MOST_UNREAD_BYTES,
            # For clients that do not even read the error their answer ends with.
            timeout_graceful_shutdown=math.ceil(self._grace_seconds) + _LAST_WORDS_SECONDS,
        )
        return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        raise _port_error(host, port, f"ports end at {_LAST_PORT}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise _port_error(host, port, str(error.strerror)) from error


def _port_error(host: str, port: int, reason: str) -> PortError:
    return PortError(f"Cannot listen on {host}:{port} ({reason}): choose another with --port; 0 picks one.")
