"""Twenty people who use a pool: what they do there, and what they expect to find on any copy of it."""

import asyncio
import hashlib
import random

from client import Client, Refused

USERS = [f"user{number:02}" for number in range(20)]


def password_of(user):
    """Every user has another one: a log-on with the right password shows that the right account was copied."""
    return f"secret of {user}"


def digest(content):
    """Stands for a file's content in comparisons and messages."""
    return hashlib.sha256(content).hexdigest()


async def work(server, user, ledger, stopwatch, stop):
    """Registers, then saves contacts, bookmarks and files, round after round, until `stop` is set."""
    chance = random.Random(user)
    rooms = {}
    async with Client(server, user, password_of(user), register=True, stopwatch=stopwatch) as client:
        number = 0
        while not stop.is_set():
            await _add(client, number, ledger, rooms)
            if number % 3 == 2:
                await _change_and_remove(client, number, ledger, rooms)
            content = chance.randbytes(chance.choice((1, 700, 20_000, 300_000)))
            path = await client.upload(f"notes {number} für später.txt", content)
            ledger.confirmed(user, "file", path, digest(content))
            number += 1


async def missing(server, user, ledger, moment):
    """Logs on and compares what is there with what was promised before `moment`; one line for each difference."""
    async with Client(server, user, password_of(user)) as client:
        found = {
            "contact": await client.contacts(),
            "bookmark": await client.bookmarks(),
            "file": {path: await _digest_of(client, path) for path in ledger.files(user, moment)},
        }
    return [line for kind, things in found.items() for line in ledger.broken(user, kind, things, moment)]


async def missing_for_everyone(server, ledger, moment):
    """The differences that all users together find."""
    found = await asyncio.gather(*(missing(server, user, ledger, moment) for user in USERS))
    return [line for lines in found for line in lines]


async def _add(client, number, ledger, rooms):
    address = f"friend{number}@example.org"
    await client.save_contact(address, f"Friend {number} of {client.user}", "Friends")
    ledger.confirmed(client.user, "contact", address, (f"Friend {number} of {client.user}", "Friends"))
    room = f"room{number}@rooms.example.org"
    rooms[room] = f"Raum {number} für {client.user}"
    await client.save_bookmarks(rooms)
    ledger.confirmed(client.user, "bookmark", room, rooms[room])


async def _change_and_remove(client, number, ledger, rooms):
    changed, removed = (f"friend{number - back}@example.org" for back in (1, 2))
    await client.save_contact(changed, "Renamed", "Colleagues")
    ledger.confirmed(client.user, "contact", changed, ("Renamed", "Colleagues"))
    await client.remove_contact(removed)
    ledger.confirmed(client.user, "contact", removed, None)
    room = f"room{number - 2}@rooms.example.org"
    del rooms[room]
    await client.save_bookmarks(rooms)
    ledger.confirmed(client.user, "bookmark", room, None)


async def _digest_of(client, path):
    try:
        return digest(await client.download(path))
    except Refused:
        return None
