"""A person's XMPP client: what its methods return, the server has confirmed."""

import asyncio
import contextlib
import logging
import time
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout
from slixmpp.plugins.xep_0048.stanza import Bookmarks

ANSWER_WITHIN_SECONDS = 15

# A refused request reaches the caller as an exception; slixmpp logs it a second time.
logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


class Refused(Exception):
    """The server answered with an error, and said so cleanly."""


class Stopwatch:
    """How long the operations of all clients took."""

    def __init__(self):
        self.durations = []

    @contextlib.contextmanager
    def timing(self, operation):
        began = time.monotonic()
        yield
        self.durations.append((time.monotonic() - began, operation))

    def longest(self):
        """Seconds and name of the operation that took longest."""
        return max(self.durations)


class Client:
    """One session of one user. Use `async with`, so that it is closed whatever happens."""

    def __init__(self, server, user, password, register=False, stopwatch=None):
        self.user = user
        self._server = server
        self._register = register
        self._stopwatch = stopwatch or Stopwatch()
        self._xmpp = ClientXMPP(f"{user}@{server.host}/test", password)
        for plugin in ("xep_0048", "xep_0077", "xep_0199", "xep_0363"):
            self._xmpp.register_plugin(plugin)
        self._http = None
        self._returned = {}

    async def __aenter__(self):
        try:
            await self._log_on()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_):
        await self._close()

    async def contacts(self):
        """The contact list: address → (name, group)."""
        # Not slixmpp's own request, which names the version it knows and then gets an empty answer.
        request = self._xmpp.make_iq_get()
        request.enable("roster")
        roster = await self._ask("read the contact list", request.send())
        return {str(address): (item["name"], *item["groups"]) for address, item in roster["roster"]["items"].items()}

    async def save_contact(self, address, name, group):
        """Adds a contact or changes it."""
        await self._ask("save a contact", self._xmpp.update_roster(address, name=name, groups=[group]))

    async def remove_contact(self, address):
        """Removes a contact."""
        await self._ask("remove a contact", self._xmpp.update_roster(address, subscription="remove"))

    async def bookmarks(self):
        """The bookmarked rooms: address → name."""
        reply = await self._ask("read the bookmarks", self._xmpp["xep_0048"].get_bookmarks(method="xep_0049"))
        return {room["jid"]: room["name"] for room in reply["private"]["bookmarks"]["conferences"]}

    async def save_bookmarks(self, rooms):
        """Replaces the bookmarks by `rooms`, address → name."""
        bookmarks = Bookmarks()
        for address, name in rooms.items():
            bookmarks.add_conference(address, self.user, name=name)
        await self._ask("save the bookmarks", self._xmpp["xep_0048"].set_bookmarks(bookmarks, method="xep_0049"))

    async def leave_message(self, user, text):
        """Sends a message to somebody who is away. Servers say only what went wrong with it, and in order: the answer to a ping that
        comes after it says that it was kept."""
        message = self._xmpp.make_message(f"{user}@{self._server.host}", text, mtype="chat")
        message["id"] = self._xmpp.new_id()
        with self._stopwatch.timing("leave a message"):
            message.send()
            await self._in_time("leave a message", self._xmpp["xep_0199"].send_ping(self._server.host))
        if error := self._returned.pop(message["id"], None):
            raise Refused(f"{self.user}: a message to {user}: {error}")

    async def upload(self, name, content):
        """Uploads a file and returns the path of its URL, which is the same on every server of the pool."""
        service = f"upload.{self._server.host}"
        request = self._xmpp["xep_0363"].request_slot(service, name, len(content))
        reply = await self._ask("request an upload slot", request)
        slot = reply["http_upload_slot"]
        headers = {header["name"]: header["value"] for header in slot["put"]["headers"]}
        with self._stopwatch.timing("upload a file"):
            async with self._http.put(slot["put"]["url"], data=content, headers=headers) as response:
                if response.status != 201:
                    raise Refused(f"{self.user}: upload of {name}: HTTP {response.status}")
        return urlsplit(slot["get"]["url"]).path

    async def download(self, path):
        """The content of an uploaded file."""
        url = urlunsplit(("http", f"127.0.0.1:{self._server.http_port}", path, "", ""))
        with self._stopwatch.timing("download a file"):
            async with self._http.get(url) as response:
                if response.status != 200:
                    raise Refused(f"{self.user}: download of {path}: HTTP {response.status}")
                return await response.read()

    async def _log_on(self):
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS))
        self._session = asyncio.get_running_loop().create_future()
        on = self._xmpp.add_event_handler
        on("session_start", lambda _: self._session.done() or self._session.set_result(None))
        on("failed_all_auth", lambda _: self._fail("the server does not accept the password"))
        on("connection_failed", lambda error: self._fail(f"no connection: {error}"))
        on("disconnected", lambda _: self._fail("the server closed the connection"))
        on("message_error", lambda stanza: self._returned.update({stanza["id"]: stanza["error"]["text"] or stanza["error"]["condition"]}))
        if self._register:
            on("register", self._create_account)
            # slixmpp 1.8 holds every stanza back until the session starts, and a registration comes before.
            self._xmpp._always_send_everything = True
        with self._stopwatch.timing("register and log on" if self._register else "log on"):
            # Said as the default too, the address is not looked up in the DNS.
            self._xmpp.default_domain, self._xmpp.default_port = "127.0.0.1", self._server.c2s_port
            self._xmpp.connect(("127.0.0.1", self._server.c2s_port), disable_starttls=True)
            await self._in_time("log on", self._session)
        # Asked for once, the server sends every later change of the contact list to this session.
        await self.contacts()

    async def _create_account(self, _):
        request = self._xmpp.make_iq_set()
        request["register"]["username"] = self.user
        request["register"]["password"] = self._xmpp.password
        try:
            await request.send(timeout=ANSWER_WITHIN_SECONDS)
        except (IqError, IqTimeout) as error:
            self._fail(f"registration refused: {error}")

    def _fail(self, reason):
        if not self._session.done():
            self._session.set_exception(Refused(f"{self.user}: {reason}"))

    async def _ask(self, operation, answer):
        with self._stopwatch.timing(operation):
            try:
                return await self._in_time(operation, answer)
            except IqError as error:
                raise Refused(f"{self.user}: {operation}: {error.condition}: {error.text}") from error

    async def _in_time(self, operation, answer):
        try:
            return await asyncio.wait_for(answer, ANSWER_WITHIN_SECONDS)
        except (asyncio.TimeoutError, IqTimeout) as error:
            raise TimeoutError(f"{self.user}: {operation}: no answer within {ANSWER_WITHIN_SECONDS} s") from error

    async def _close(self):
        await self._xmpp.disconnect(wait=1.0)
        if self._http is not None:
            await self._http.close()
