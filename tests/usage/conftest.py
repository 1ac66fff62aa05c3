"""The fixtures of the LangChain tests."""

from tests.langchain.conftest import calls, make, recorder

__all__ = ["calls", "make", "recorder"]
