"""The objects of an episode as bytes, without what an environment has for good."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping

from robots.specs import SpecError


def pack(content: object, shared: Mapping[str, object]) -> bytes:
    """Pickle `content`; it may refer to the `shared` objects, of which only the names are written.

    Raises:
        SpecError: if something in it cannot be pickled.
    """
    buffer = io.BytesIO()
    names = {id(each): name for name, each in shared.items()}
    pickler = _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.names = names
    try:
        pickler.dump(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise SpecError(f"environment state: {error}; a task may keep only what can be pickled") from None
    return buffer.getvalue()


def unpack(state: bytes, shared: Mapping[str, object]) -> object:
    """Return what `pack` was given, with this environment's `shared` objects.

    Raises:
        SpecError: if `state` did not come from `pack`.
    """
    unpickler = _Unpickler(io.BytesIO(state))
    unpickler.shared = shared
    try:
        return unpickler.load()
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError) as error:
        raise SpecError(f"environment state cannot be read ({error!r}); give what get_state() returned") from None


class _Pickler(pickle.Pickler):
    names: Mapping[int, str]

    def persistent_id(self, obj: object) -> str | None:
        return self.names.get(id(obj))


class _Unpickler(pickle.Unpickler):
    shared: Mapping[str, object]

    def persistent_load(self, pid: str) -> object:
        return self.shared[pid]
