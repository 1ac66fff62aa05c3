"""A local Paradigm: the same endpoint over a small real model on this machine."""

from typing import TYPE_CHECKING

from paradigm_local.errors import LocalParadigmError, ModelError, PortError

if TYPE_CHECKING:
    from paradigm_local.local import LocalParadigm

__all__ = ["LocalParadigm", "LocalParadigmError", "ModelError", "PortError"]


def __getattr__(name: str) -> object:
    # pytest imports this package in every run, for the plugin, so that the import must be fast.
    if name == "LocalParadigm":
        from paradigm_local.local import LocalParadigm

        return LocalParadigm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
