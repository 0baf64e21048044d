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
from barcode import VALUE_MOD, cells, encode_bits, read_barcode
from livekit import rtc

RATE = 48_000
WINDOW = RATE // 5  # samples a tone is measured over
BLOCK_MS = 100  # of audio handed over at once: ten calls a second leave time for pictures


def paint(width, height, colour, sender):
    picture = np.empty((height, width, 4), np.uint8)
    picture[:, :] = (*colour, 255)
    now = int(time.time() * 1000)
    shift = now // 20 % (width - 40)  # something moves, so that a frozen picture would differ
    picture[height * 3 // 4 : height * 7 // 8, shift : shift + 40, :3] = 255
    for (left, top, right, bottom), bit in zip(cells(width, height), encode_bits(sender, now)):
        picture[top:bottom, left:right, :3] = 255 * bit
    return picture.tobytes()


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


def describe(person):
    tracks = {p.sid: {"muted": p.muted} for p in person.track_publications.values()}
    about = {"name": person.name, "metadata": person.metadata, "attributes": dict(person.attributes), "tracks": tracks}
    return person.identity, about


def pattern(start, size):
    """Bytes of a stream that can be recognised wherever it is cut, as in page/exchange.js."""
    i = np.arange(start, start + size, dtype=np.int64)
    return (i * 31 + (i >> 8) * 7 & 255).astype(np.uint8).tobytes()


class Exchange:
    """What participants exchange beside pictures and sound."""

    def __init__(self):
        self.got = {
            "texts": [], "bytes": [], "numbers": [], "transcriptions": [], "frames": {}, "dataTracks": [], "ended": [],
        }
        self.own = {}

    def listen(self, room):
        for topic in ("text", "lk.transcription"):
            room.register_text_stream_handler(topic, lambda reader, who: self.spawn(self.on_text(reader, who)))
        room.register_byte_stream_handler("bytes", lambda reader, who: self.spawn(self.on_bytes(reader, who)))
        room.on("data_track_published", lambda track: self.spawn(self.on_data_track(track)))
        room.on("data_track_unpublished", self.got["ended"].append)
        room.on("transcription_received", self.on_transcription)

    def register_methods(self, local):
        async def echo(call):
            return f"{call.caller_identity}:{call.payload}"

        async def fail(_call):
            raise rtc.RpcError(101, "on purpose", "more")

        local.register_rpc_method("echo", echo)
        local.register_rpc_method("fail", fail)

    async def on_text(self, reader, who):
        info = reader.info
        text = await reader.read_all()
        entry = {"from": who, "topic": info.topic, "attributes": dict(info.attributes or {}), "text": text}
        self.got["texts"].append(entry)

    async def on_bytes(self, reader, who):
        entry = {"from": who, "announced": reader.info.size, "size": 0, "wrong": 0, "done": False}
        self.got["bytes"].append(entry)
        async for chunk in reader:
            right = np.frombuffer(pattern(entry["size"], len(chunk)), np.uint8)
            entry["wrong"] += int((np.frombuffer(chunk, np.uint8) != right).sum())
            entry["size"] += len(chunk)
        entry["done"] = True

    async def on_data_track(self, track):
        info = track.info
        self.got["dataTracks"].append({"from": track.publisher_identity, "name": info.name, "sid": info.sid})
        frames = self.got["frames"][info.name] = {"count": 0, "wrong": 0, "sizes": collections.Counter()}
        async for frame in track.subscribe(buffer_size=200):
            size = len(frame.payload)
            frames["count"] += 1
            frames["wrong"] += int(bytes(frame.payload) != pattern(0, size))
            frames["sizes"][size] += 1

    def on_transcription(self, segments, participant, _publication):
        who = participant.identity if participant else None
        self.got["transcriptions"].append({"from": who, "text": "".join(s.text for s in segments)})

    async def exchanged(self):
        return self.got

    @property
    def local(self):
        return self.room.local_participant

    async def sendText(self, text, topic="text", to=None, attributes=None):
        await self.local.send_text(text, topic=topic, destination_identities=to, attributes=attributes)

    async def sendBytes(self, size, to=None):
        writer = await self.local.stream_bytes(
            "pattern", topic="bytes", total_size=size, destination_identities=to
        )
        for start in range(0, size, 60_000):
            await writer.write(pattern(start, min(60_000, size - start)))
        await writer.aclose()

    async def sendNumbers(self, count, pauseMs=0):
        for n in range(count):
            await self.local.publish_data(str(n), reliable=True, topic="number")
            await asyncio.sleep(pauseMs / 1000)

    async def callRpc(self, to, method, payload=""):
        try:
            return {"value": await self.local.perform_rpc(destination_identity=to, method=method, payload=payload)}
        except rtc.RpcError as error:
            return {"code": int(error.code), "message": error.message, "data": error.data}

    async def told(self, change):
        try:
            await change
            return {}
        except Exception as error:  # the test judges what the SDK says
            return {"error": f"{type(error).__name__}: {error}"}

    async def setName(self, value):
        return await self.told(self.local.set_name(value))

    async def setMetadata(self, value):
        return await self.told(self.local.set_metadata(value))

    async def setAttributes(self, value):
        return await self.told(self.local.set_attributes(value))

    async def permit(self, all, only=()):
        people = [rtc.ParticipantTrackPermission(participant_identity=who, allow_all=True) for who in only]
        self.local.set_track_subscription_permissions(allow_all_participants=all, participant_permissions=people)

    async def publishDataTrack(self, name):
        track = self.own[name] = await self.local.publish_data_track(name=name)
        return track.info.sid

    async def pushFrames(self, name, count, size):
        for _ in range(count):
            self.own[name].try_push(rtc.DataTrackFrame(payload=pattern(0, size)))
            await asyncio.sleep(0.01)

    async def unpublishDataTrack(self, name):
        await self.own[name].unpublish()

    async def transcribe(self, who, track, text):
        segment = rtc.TranscriptionSegment(id="s", text=text, start_time=0, end_time=1, language="de", final=True)
        words = rtc.Transcription(participant_identity=who, track_sid=track, segments=[segment])
        await self.local.publish_transcription(words)


class Participant(Exchange):
    def __init__(self):
        super().__init__()
        self.room, self.eyes, self.ears, self.events, self.messages = None, {}, {}, [], []
        self.tasks, self.sources = set(), []

    def spawn(self, work):
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def join(self, url, token, singlePeerConnection=None, e2ee=None):
        self.room = room = rtc.Room()
        room.on("track_subscribed", self.on_track)
        room.on("track_unsubscribed", lambda track, _, other: self.note("unsubscribed", other.identity))
        for name in ("participant_connected", "participant_disconnected"):
            room.on(name, lambda other, name=name: self.note(name, other.identity))
        for name in ("reconnecting", "reconnected"):
            room.on(name, lambda name=name: self.note(name))
        room.on("disconnected", lambda reason: self.note("disconnected", rtc.DisconnectReason.Name(reason)))
        room.on("data_received", self.on_data)
        self.listen(room)
        options = rtc.RoomOptions(single_peer_connection=singlePeerConnection)
        if e2ee:
            options.encryption = rtc.E2EEOptions(rtc.KeyProviderOptions(shared_key=e2ee["key"].encode()))
        await room.connect(url, token, options)
        self.register_methods(room.local_participant)
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
        if packet.topic == "number":
            return self.got["numbers"].append(int(packet.data))
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
            "room": {"name": self.room.name, "metadata": self.room.metadata},
            "people": dict(map(describe, [self.room.local_participant, *self.room.remote_participants.values()])),
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
    lines = asyncio.StreamReader(limit=1 << 20)  # a command may hold a long text
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
