"""A local Paradigm: the same endpoint over a real small model, on this machine."""

from typing import TYPE_CHECKING, Any

from paradigm_local.errors import LocalParadigmError, ModelError, PortError

if TYPE_CHECKING:
    from paradigm_local.local import LocalParadigm

__all__ = ["LocalParadigm", "LocalParadigmError", "ModelError", "PortError"]


def __getattr__(name: str) -> Any:
    # Every pytest run where this is installed imports this package for its plugin: it has to be quick.
    if name == "LocalParadigm":
        from paradigm_local.local import LocalParadigm

        return LocalParadigm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
