"""Errors that keep the local Paradigm from starting; each message is one line that says what to do."""


class LocalParadigmError(Exception):
    """The local Paradigm cannot start. The message is one line for the person at the terminal."""


class ModelError(LocalParadigmError):
    """The model file is missing or damaged, or could not be downloaded."""


class PortError(LocalParadigmError):
    """The server cannot listen on the address."""
