"""One participant with the unmodified Python SDK, told what to do in JSON lines.

Commands come on standard input, answers go to file descriptor 3: both output streams belong to the SDK's log. What it
sends can be recognised (a tone; frames of one colour with a barcode, as in lib/barcode.mjs), and what it receives is
measured after decoding.
"""

import asyncio
import collections
import importlib.metadata
import json
import os
import sys
import time

import numpy as np
from livekit import rtc

RATE = 48_000
COLS, ROWS, STRIP, VALUE_MOD = 24, 2, 1 / 6, 2**28  # lib/barcode.mjs
WINDOW = RATE // 5  # samples a tone is measured over
BLOCK_MS = 100  # of audio handed over at once: ten calls a second leave time for pictures


def crc8(data):
    c = 0
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = ((c << 1) ^ 0x07) & 0xFF if c & 0x80 else (c << 1) & 0xFF
    return c


def encode_bits(sender, value):
    data = (0xB << 36 | sender << 28 | value % VALUE_MOD).to_bytes(5, "big")
    data += bytes([crc8(data)])
    return [(byte >> i) & 1 for byte in data for i in range(7, -1, -1)]


def decode_bits(bits):
    data = bytes(int("".join(map(str, bits[i : i + 8])), 2) for i in range(0, 48, 8))
    if data[0] >> 4 != 0xB or crc8(data[:5]) != data[5]:
        return None
    whole = int.from_bytes(data[:5], "big")
    return (whole >> 28) & 0xFF, whole % VALUE_MOD


def cells(width, height):
    """The pixels of each cell: left, top, right, bottom."""
    w, h = width / COLS, height * STRIP / ROWS
    for i in range(COLS * ROWS):
        col, row = i % COLS, i // COLS
        yield round(col * w), round(row * h), round((col + 1) * w), round((row + 1) * h)


def paint(width, height, colour, sender):
    picture = np.empty((height, width, 4), np.uint8)
    picture[:, :] = (*colour, 255)
    now = int(time.time() * 1000)
    shift = now // 20 % (width - 40)  # something moves, so that a frozen picture would differ
    picture[height * 3 // 4 : height * 7 // 8, shift : shift + 40, :3] = 255
    for (left, top, right, bottom), bit in zip(cells(width, height), encode_bits(sender, now)):
        picture[top:bottom, left:right, :3] = 255 * bit
    return picture.tobytes()


def read_barcode(picture):
    height, width = picture.shape[:2]
    bits = []
    for left, top, right, bottom in cells(width, height):
        x, y = (left + right) // 2, (top + bottom) // 2
        bits.append(int(int(picture[y, x, 1]) + int(picture[y - 1, x - 1, 1]) > 254))
    return decode_bits(bits)


class Eye:
    """Looks at every decoded frame of one track."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.frames = self.good = self.longest = 0
        self.ids, self.sizes, self.colour, self.last = collections.Counter(), collections.Counter(), None, None
        self.since, self.latencies = time.monotonic(), []

    async def watch(self, track):
        async for event in rtc.VideoStream(track, format=rtc.VideoBufferType.RGBA, capacity=2):
            now, frame = time.monotonic(), event.frame
            picture = np.frombuffer(frame.data, np.uint8).reshape(frame.height, frame.width, 4)
            self.frames += 1
            self.longest = max(self.longest, now - (self.last or self.since))
            self.last = now
            self.sizes[f"{frame.width}x{frame.height}"] += 1
            found = read_barcode(picture)
            if found:
                self.good += 1
                self.ids[found[0]] += 1
                self.latencies.append((int(time.time() * 1000) - found[1]) % VALUE_MOD)
            h, w = picture.shape[:2]
            middle = picture[h // 3 : h * 2 // 3 : 4, w // 3 : w * 2 // 3 : 4, :3]
            self.colour = [round(float(v)) for v in middle.reshape(-1, 3).mean(axis=0)]

    def report(self):
        now = time.monotonic()
        p50 = sorted(self.latencies)[len(self.latencies) // 2] if self.latencies else None
        longest = max(self.longest, now - (self.last or self.since))
        return {
            "frames": self.frames, "good": self.good, "ids": self.ids, "sizes": self.sizes, "colour": self.colour,
            "fps": self.frames / max(0.001, now - self.since), "maxGapMs": round(longest * 1000), "latencyMs": p50,
        }


class Ear:
    """Listens to the last moment of one track."""

    def __init__(self):
        self.samples = np.zeros(WINDOW)
        self.frames = 0

    async def listen(self, track):
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=BLOCK_MS, capacity=20)
        async for event in stream:
            fresh = np.frombuffer(event.frame.data, np.int16) / 32768
            self.samples = np.concatenate([self.samples, fresh])[-WINDOW:]
            self.frames += 1

    def report(self):
        spectrum = np.abs(np.fft.rfft(self.samples * np.hanning(WINDOW)))
        rms = float(np.sqrt(np.mean(self.samples**2)))
        return {"hz": float(np.argmax(spectrum[1:]) + 1) * RATE / WINDOW, "rms": rms, "frames": self.frames}


class Participant:
    def __init__(self):
        self.room, self.eyes, self.ears, self.events, self.messages = None, {}, {}, [], []
        self.tasks, self.sources = set(), []

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def join(self, url, token, singlePeerConnection=None):
        self.room = room = rtc.Room()
        room.on("track_subscribed", self.on_track)
        for name in ("participant_connected", "participant_disconnected"):
            room.on(name, lambda other, name=name: self.note(name, other.identity))
        for name in ("reconnecting", "reconnected"):
            room.on(name, lambda name=name: self.note(name))
        room.on("disconnected", lambda reason: self.note("disconnected", rtc.DisconnectReason.Name(reason)))
        room.on("data_received", self.on_data)
        await room.connect(url, token, rtc.RoomOptions(single_peer_connection=singlePeerConnection))
        return {"sid": room.local_participant.sid}

    def note(self, name, detail=None):
        self.events.append({"name": name, "detail": detail})

    def on_track(self, track, _publication, other):
        video = track.kind == rtc.TrackKind.KIND_VIDEO
        self.note("subscribed", f"{other.identity} {'video' if video else 'audio'}")
        if video:
            eye = self.eyes[other.identity] = Eye()
            self.spawn(eye.watch(track))
        else:
            ear = self.ears[other.identity] = Ear()
            self.spawn(ear.listen(track))

    def on_data(self, packet):
        kind = rtc.DataPacketKind.Name(packet.kind)
        sender = packet.participant.identity if packet.participant else None
        self.messages.append({"text": packet.data.decode(), "from": sender, "topic": packet.topic, "kind": kind})

    async def publish(self, id, hz, colour, width, height, fps, simulcast):
        local = self.room.local_participant
        microphone = rtc.AudioSource(RATE, 1)
        audio = rtc.LocalAudioTrack.create_audio_track("microphone", microphone)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        heard = await local.publish_track(audio, options)
        self.spawn(self.hum(microphone, hz))
        camera = rtc.VideoSource(width, height)
        video = rtc.LocalVideoTrack.create_video_track("camera", camera)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA, video_codec=rtc.VideoCodec.VP8, simulcast=simulcast
        )
        seen = await local.publish_track(video, options)
        self.spawn(self.show(camera, id, colour, width, height, fps))
        return {"audio": heard.sid, "video": seen.sid}

    async def hum(self, source, hz):
        size = RATE * BLOCK_MS // 1000
        assert hz * BLOCK_MS % 1000 == 0, "a block holds whole periods"
        wave = np.sin(2 * np.pi * hz * np.arange(size) / RATE) * 0.3 * 32767
        block = wave.astype(np.int16).tobytes()
        while True:
            await source.capture_frame(rtc.AudioFrame(block, RATE, 1, size))

    async def show(self, source, sender, colour, width, height, fps):
        while True:
            data = paint(width, height, colour, sender)
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, data))
            await asyncio.sleep(1 / fps)

    async def send(self, text, reliable=True, topic="", to=()):
        await self.room.local_participant.publish_data(
            text, reliable=reliable, topic=topic, destination_identities=list(to)
        )

    async def state(self):
        """All that can be asked, so that whoever waits needs one question."""
        return {
            "video": {who: eye.report() for who, eye in self.eyes.items()},
            "audio": {who: ear.report() for who, ear in self.ears.items()},
            "events": self.events,
            "messages": self.messages,
            "sid": self.room.local_participant.sid,
            "others": list(self.room.remote_participants),
        }

    async def reset(self):
        for eye in self.eyes.values():
            eye.reset()

    async def codecs(self):
        stats = await self.room.get_rtc_stats()
        every = [*stats.publisher_stats, *stats.subscriber_stats]
        names = {s.codec.rtc.id: s.codec.codec.mime_type for s in every if s.HasField("codec")}
        arriving = [s.inbound_rtp.stream for s in every if s.HasField("inbound_rtp")]
        return sorted({names.get(s.codec_id, "") for s in arriving})

    async def leave(self):
        await self.room.disconnect()


async def main():
    loop = asyncio.get_running_loop()
    answers = os.fdopen(3, "w", buffering=1)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    participant = Participant()
    print(json.dumps({"sdk": f"livekit {importlib.metadata.version('livekit')}"}), file=answers)

    async def obey(line):
        command = json.loads(line)
        try:
            value = await getattr(participant, command["name"])(**command["wish"])
            answer = {"id": command["id"], "value": value}
        except Exception as error:  # the test judges what the SDK says
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {getattr(error, 'message', error)}"}
        print(json.dumps(answer), file=answers)

    while line := await lines.readline():
        participant.spawn(obey(line))
    os._exit(0)  # standard input was closed: the test is over


asyncio.run(main())
