"""The type of a key, for type checkers: a string may be assigned, a `SecretStr` is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

if TYPE_CHECKING:

    class Key:
        """A key; see the module."""

        def __get__(self, settings: object, owner: type | None = None) -> SecretStr: ...
        def __set__(self, settings: object, key: SecretStr | str) -> None: ...

else:
    Key = SecretStr
