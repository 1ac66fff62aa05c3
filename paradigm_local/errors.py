"""What can go wrong before the local Paradigm serves: one line each, with what to do about it."""


class LocalParadigmError(Exception):
    """The local Paradigm cannot start; its text is one line for the person at the terminal."""


class ModelError(LocalParadigmError):
    """The model file is missing, damaged or could not be fetched."""


class PortError(LocalParadigmError):
    """The address to listen on cannot be had."""
