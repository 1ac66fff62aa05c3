"""TLS contexts, from the settings and the environment."""

from __future__ import annotations

import os
import ssl
from functools import lru_cache
from pathlib import Path

import httpx

from paradigm_transport.errors import InvalidParameterError
from paradigm_transport.http.settings import Settings


def create_ssl_context(settings: Settings) -> ssl.SSLContext:
    """Create the TLS context that `verify`, `cert`, SSL_CERT_FILE and SSL_CERT_DIR ask for.

    Args:
        settings: `verify` and `cert` are read.

    Raises:
        InvalidParameterError: a file cannot be read, or is not a certificate.
    """
    verify, cert = settings.verify, settings.cert
    try:
        if verify is True and cert is None:
            return _default_context(*map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))
        if isinstance(verify, (str, os.PathLike)):
            is_folder = Path(verify).is_dir()
            verify = ssl.create_default_context(
                cafile=None if is_folder else str(verify), capath=str(verify) if is_folder else None
            )
        context = httpx.create_ssl_context(verify=verify)
        if cert is not None:
            context.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
        return context
    except OSError as error:  # an SSLError is one
        cause = f"{type(error).__name__}: {error}"
    raise InvalidParameterError(f"verify, cert or SSL_CERT_FILE cannot be used ({cause})")


@lru_cache(maxsize=4)
def _default_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    # Objects share it: reading the authorities takes longer than most requests.
    if file or folder:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    return httpx.create_ssl_context()
