"""What people do at a server all the time, at a steady pace: each write is counted, and what the server said to it.

A write is a thing of somebody's with a number that only grows: a contact's name, a message, a registration. It stands in the database as
`OWNER:THING:NUMBER`, wherever the server puts it, so that any copy tells which writes it holds.
"""

import asyncio
import contextlib
import itertools
import re
import time

import sip
from client import Client, Refused, Stopwatch

WORKERS = 10
PASSWORD = "secret"
# Contacts of one person, changed in turn. Some keep whole contact lists in one row, or write all of a list again with each change.
CONTACTS = 20
# ejabberd keeps 100 messages for somebody who is away, as the package configures it.
MESSAGES_FOR_ONE = 50
TELEPHONES = 2_000

FOUND = re.compile(r"([a-z]+\d+):([a-z]+\d*):(\d+)")


class Promises:
    """Which writes were tried, and which of them the server confirmed: (owner, thing) → the highest number."""

    def __init__(self):
        self.tried, self.told, self.refused = {}, {}, []
        self.count = 0

    @contextlib.asynccontextmanager
    async def write(self, owner, thing, number):
        """Around one write: noted as tried before it, as told or refused after it."""
        self.tried[owner, thing] = number
        try:
            yield
        except (Refused, TimeoutError) as error:
            self.refused.append(str(error))
        else:
            self.told[owner, thing] = number
            self.count += 1

    def broken(self, lines, told):
        """What a database whose rows are these lines lacks of `told`, or holds although nobody wrote it."""
        found = {}
        for owner, thing, number in FOUND.findall("\n".join(lines)):
            found[owner, thing] = max(int(number), found.get((owner, thing), 0))
        lacking = [f"{key}: {found.get(key)} instead of {number}" for key, number in told.items() if found.get(key, 0) < number]
        invented = [f"{key}: {number}, which nobody wrote" for key, number in found.items() if number > self.tried.get(key, 0)]
        return lacking + invented


class Load:
    """The load of one server; `rate` is in writes a second."""

    def __init__(self, server, rate):
        self.server, self.rate = server, rate
        self.promises, self.stopwatch = Promises(), Stopwatch()

    async def run(self, stop):
        """Writes until `stop` is set."""
        raise NotImplementedError

    def people(self, _seconds):
        """Who must have an account, for a load of this length; the password of all of them is PASSWORD."""
        return []

    async def _paced(self, stop, rate, write):
        """Calls `write` with 1, 2, 3… at this pace; one after the other, and what comes late is not made up for."""
        for number in itertools.count(1):
            began = time.monotonic()
            await write(number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), max(0.001, began + 1 / rate - time.monotonic()))
            if stop.is_set():
                return


class Talk(Load):
    """People who change their contacts and leave messages to people who are away, over XMPP."""

    def people(self, seconds):
        self._away = [f"away{number}" for number in range(max(20, int(seconds * self.rate / MESSAGES_FOR_ONE)))]
        return [f"worker{number}" for number in range(WORKERS)] + self._away

    async def run(self, stop):
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(f"worker{number}", number / WORKERS / self.rate, stop))

    async def _work(self, user, after, stop):
        await asyncio.sleep(after)
        async with Client(self.server, user, PASSWORD, stopwatch=self.stopwatch) as client:
            async def write(number):
                if number % 2:
                    contact = f"friend{number // 2 % CONTACTS}"
                    async with self.promises.write(user, contact, number):
                        await client.save_contact(f"{contact}@example.org", f"{user}:{contact}:{number}", "Friends")
                else:
                    async with self.promises.write(user, f"message{number}", 1):
                        away = self._away[(number // 2 * WORKERS + int(user[6:])) % len(self._away)]
                        await client.leave_message(away, f"{user}:message{number}:1")
            await self._paced(stop, self.rate / WORKERS, write)


class Registrations(Load):
    """Telephones that register again and again, over SIP."""

    async def run(self, stop):
        telephones = await sip.Telephones.behind(self.server)
        try:
            async with asyncio.TaskGroup() as group:
                for worker in range(WORKERS):
                    group.create_task(self._work(telephones, worker, stop))
        finally:
            telephones.close()

    async def _work(self, telephones, worker, stop):
        async def write(number):
            user = f"phone{(number * WORKERS + worker) % TELEPHONES}"
            async with self.promises.write(user, "registration", number):
                with self.stopwatch.timing("register"):
                    status = await telephones.register(user, number)
                if status != 200:
                    raise Refused(f"{user}: registration {number}: {status}")
        await asyncio.sleep(worker / WORKERS / self.rate)
        await self._paced(stop, self.rate / WORKERS, write)
