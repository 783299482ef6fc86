"""What a worker process keeps from one batch to the next."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class WorkerCache(Generic[T]):
    """Makes things from their description, and keeps the newest: environments take long to open."""

    def __init__(self, make: Callable[[Any], T], close: Callable[[T], None] = lambda thing: None, most: int = 1):
        """Keep at most `most` things that `make` made; `close` those that are dropped."""
        self._make, self._close, self._most = make, close, most
        self._things: dict[bytes, T] = {}

    def __call__(self, description: Any) -> T:
        """Return the thing that `make` makes of `description`, which can be pickled."""
        key = sha256(description if isinstance(description, bytes) else pickle.dumps(description)).digest()
        if key in self._things:
            self._things[key] = self._things.pop(key)  # the newest is last
            return self._things[key]
        while len(self._things) >= self._most:
            self._close(self._things.pop(next(iter(self._things))))
        return self._things.setdefault(key, self._make(description))
