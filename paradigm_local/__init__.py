"""A local Paradigm: the same endpoint over a real small model, on this machine."""

from paradigm_local.errors import LocalParadigmError, ModelError, PortError
from paradigm_local.local import LocalParadigm

__all__ = ["LocalParadigm", "LocalParadigmError", "ModelError", "PortError"]
