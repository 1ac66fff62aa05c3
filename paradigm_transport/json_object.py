"""The type of JSON objects."""

from typing import Any

JsonObject = dict[str, Any]
"""A JSON object, parsed."""
