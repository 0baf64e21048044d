"""A player by WHEP with aiortc, told what to do in JSON lines.

Commands come on standard input, answers go to file descriptor 3. It offers once, with all its candidates, and measures
what it decodes.
"""

import asyncio
import collections
import importlib.metadata
import json
import os
import re
import sys
import time
import urllib.parse
import urllib.request

import aioice
import aioice.ice
import numpy as np
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from barcode import VALUE_MOD, read_barcode

RATE = 48_000
WINDOW = RATE // 5


class Place:
    """One section of the offer, and what came on it."""

    def __init__(self):
        self.frames = self.good = 0
        self.ids, self.sizes, self.latency = collections.Counter(), collections.Counter(), None
        self.samples, self.ended = np.zeros(WINDOW), False

    def reset(self):
        self.frames = self.good = 0
        self.ids.clear()
        self.sizes.clear()

    async def watch(self, track):
        try:
            while True:
                frame = await track.recv()
                (self.see if track.kind == "video" else self.hear)(frame)
        except MediaStreamError:
            self.ended = True

    def see(self, frame):
        picture = frame.to_ndarray(format="rgb24")
        self.frames += 1
        self.sizes[f"{frame.width}x{frame.height}"] += 1
        found = read_barcode(picture)
        if found:
            self.good += 1
            self.ids[found[0]] += 1
            self.latency = (int(time.time() * 1000) - found[1]) % VALUE_MOD

    def hear(self, frame):
        samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0] / 32_768
        self.frames += 1
        self.samples = np.concatenate([self.samples, samples])[-WINDOW:]

    def report(self):
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(WINDOW)))
        return {
            "frames": self.frames, "good": self.good, "ids": self.ids, "sizes": self.sizes, "latencyMs": self.latency,
            "hz": float(np.argmax(spectrum) * RATE / WINDOW), "rms": float(np.sqrt((self.samples**2).mean())),
            "ended": self.ended,
        }


def only_relays(connection):
    """aiortc has no iceTransportPolicy; aioice below it has."""
    original = connection.__init__
    policy = aioice.TransportPolicy.RELAY
    connection.__init__ = lambda self, *args, **named: original(self, *args, **{**named, "transport_policy": policy})


class Player:
    def __init__(self):
        self.pc, self.places, self.tasks = None, [], []

    def request(self, method, url, body=None):
        headers = {"Authorization": f"Bearer {self.token}", **({"Content-Type": "application/sdp"} if body else {})}
        request = urllib.request.Request(url, body and body.encode(), headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read().decode()

    def turn_servers(self, url):
        """The TURN servers that the server names for WHEP (RFC 9725 section 4.6)."""
        _, headers, _ = self.request("OPTIONS", url)
        link = r'<(turn:[^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"'
        return [RTCIceServer(*found) for found in re.findall(link, headers.get("link", ""))]

    async def play(self, url, token, sounds, pictures, relay=False):
        self.token = token
        servers = []
        if relay:
            servers = await asyncio.to_thread(self.turn_servers, url)
            only_relays(aioice.Connection)
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self.pc.on("track", self.on_track)
        self.kinds = ["audio"] * sounds + ["video"] * pictures
        self.places = [Place() for _ in self.kinds]
        for kind in self.kinds:
            self.pc.addTransceiver(kind, direction="recvonly")
        await self.pc.setLocalDescription(await self.pc.createOffer())
        offer = self.pc.localDescription.sdp
        status, headers, answer = await asyncio.to_thread(self.request, "POST", url, offer)
        self.session = urllib.parse.urljoin(url, headers["location"])
        await self.pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return {"status": status}

    def on_track(self, track):
        mids = [transceiver.receiver.track.id for transceiver in self.pc.getTransceivers()]
        place = self.places[mids.index(track.id)]
        self.tasks.append(asyncio.create_task(place.watch(track)))

    async def reset(self):
        for place in self.places:
            place.reset()

    async def state(self):
        return {"connection": self.pc.connectionState, "places": [place.report() for place in self.places]}

    async def stop(self):
        status, _, _ = await asyncio.to_thread(self.request, "DELETE", self.session)
        await self.pc.close()
        return {"status": status}


async def main():
    # It leaves loopback out of its own accord.
    gathered = aioice.ice.get_host_addresses
    aioice.ice.get_host_addresses = lambda *args, **named: ["127.0.0.1", *gathered(*args, **named)]
    answers = os.fdopen(3, "w", buffering=1)
    print(json.dumps({"sdk": f"aiortc {importlib.metadata.version('aiortc')}"}), file=answers)
    player = Player()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        command = json.loads(line)
        try:
            value = await getattr(player, command["name"])(**command["wish"])
            answer = {"id": command["id"], "value": value}
        except Exception as error:  # the test judges what it says
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    os._exit(0)  # standard input was closed: the test is over


asyncio.run(main())
