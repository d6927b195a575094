"""Telephones that register with a SIP server over UDP: what `register` returns, the server has confirmed."""

import asyncio
import re
import socket

ANSWER_WITHIN_SECONDS = 15


def request(method, server, user, number, port):
    """One request of a telephone that listens on `port`; `number` counts what this user asked."""
    address = f"sip:{user}@{server.host}"
    lines = [
        f"{method} sip:{server.host} SIP/2.0", f"Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{user}-{number}", "Max-Forwards: 70",
        f"From: <{address}>;tag={user}", f"To: <{address}>", f"Call-ID: {user}@telephone", f"CSeq: {number} {method}",
        f"Contact: <sip:{user}@127.0.0.1:{port}>", "Expires: 3600", "Content-Length: 0",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answers(server):
    """Whether the server answers, and says that all is well."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(("127.0.0.1", server.sip_port))
            probe.send(request("OPTIONS", server, "anybody", 1, probe.getsockname()[1]))
            return probe.recv(65_536).startswith(b"SIP/2.0 200 ")
        except OSError:
            return False


class Telephones(asyncio.DatagramProtocol):
    """All telephones behind one port. Use `await Telephones.behind(server)`, and `close` it."""

    def __init__(self, server):
        self._server = server
        self._waiting = {}

    @classmethod
    async def behind(cls, server):
        """A port of their own, connected to the server."""
        _, telephones = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(server), remote_addr=("127.0.0.1", server.sip_port))
        return telephones

    def connection_made(self, transport):
        self._transport = transport
        self._port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data, _):
        status = re.match(rb"SIP/2\.0 (\d+)", data)
        call = re.search(rb"(?im)^Call-ID: *(\S+)@telephone\r?$", data)
        number = re.search(rb"(?im)^CSeq: *(\d+)", data)
        answer = self._waiting.get((call[1].decode(), int(number[1]))) if status and call and number else None
        if answer and not answer.done():
            answer.set_result(int(status[1]))

    def close(self):
        """Gives the port back."""
        self._transport.close()

    async def register(self, user, number):
        """Says where the user is; the status that the server answers. Raises TimeoutError where it does not."""
        answer = self._waiting[user, number] = asyncio.get_running_loop().create_future()
        try:
            self._transport.sendto(request("REGISTER", self._server, user, number, self._port))
            return await asyncio.wait_for(answer, ANSWER_WITHIN_SECONDS)
        finally:
            del self._waiting[user, number]
