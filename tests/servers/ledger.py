"""What the server promised its users: the yardstick for every copy of the pool."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """A write that the server confirmed. `value` is what the key holds since then, None if it was removed."""

    user: str
    kind: str
    key: str
    value: object
    confirmed_at: float


class Ledger:
    """All promises, in the order in which they were made."""

    def __init__(self):
        self._promises = []

    def __len__(self):
        return len(self._promises)

    def confirmed(self, user, kind, key, value):
        """Notes that the server has confirmed a write just now."""
        self._promises.append(Promise(user, kind, key, value, time.monotonic()))

    def files(self, user, moment):
        """The paths of a user's files that were promised by then."""
        return [
            promise.key for promise in self._promises
            if (promise.user, promise.kind) == (user, "file") and promise.confirmed_at <= moment
        ]

    def broken(self, user, kind, found, moment):
        """Where `found`, key → value, is not a state that the user's data had at or after `moment`.

        What was confirmed before must be there. A write that was under way at that moment may be there or not, and what
        nobody ever wrote must not be there.
        """
        allowed = {}
        for promise in self._promises:
            if (promise.user, promise.kind) != (user, kind):
                continue
            if promise.confirmed_at <= moment:
                allowed[promise.key] = {promise.value}
            else:
                allowed.setdefault(promise.key, {None}).add(promise.value)
        return [
            f"{user}: {kind} {key}: {found.get(key)!r} instead of {' or '.join(map(repr, allowed.get(key, {None})))}"
            for key in sorted(allowed.keys() | found.keys())
            if found.get(key) not in allowed.get(key, {None})
        ]
