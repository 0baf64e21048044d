"""The peer connections of one participant with GStreamer's webrtcbin, told what to do in JSON lines.

Commands come on standard input, answers go to file descriptor 3. Signalling is the test's: descriptions are handed in and
out. What it sends is a tone and frames of one colour; what it receives is measured after decoding.
"""

import base64
import json
import os
import sys
import threading
import time

import gi

for name in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(name, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

WIDTH, HEIGHT, FPS = 320, 180, 15
RTP = "application/x-rtp,clock-rate={rate},media={media},encoding-name={name},payload={pt}"
AUDIO = RTP.format(rate=48000, media="audio", name="OPUS", pt=111)
VIDEO = RTP.format(rate=90000, media="video", name="VP8", pt=96)
BAND_HZ = 20  # resolution of the ear

SOURCES = (
    f" audiotestsrc is-live=true freq={{hz}} volume=0.3 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=111"
    f" ! {AUDIO} ! pc. "
    f" videotestsrc is-live=true pattern=solid-color foreground-color={{argb}}"
    f" ! video/x-raw,width={WIDTH},height={HEIGHT},framerate={FPS}/1 ! vp8enc deadline=1 keyframe-max-dist=30"
    f" ! rtpvp8pay pt=96 picture-id-mode=15-bit ! {VIDEO} ! pc. "
)
EAR = (
    "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,rate=48000,channels=1"
    f" ! spectrum name=ear bands={24000 // BAND_HZ} interval=200000000 threshold=-90 ! fakesink"
)
EYE = "rtpvp8depay ! vp8dec ! videoconvert ! video/x-raw,format=RGB ! appsink name=eye emit-signals=true max-buffers=2 drop=true"


def call(element, signal, *arguments):
    """An action signal of webrtcbin; answers the promise's reply. Keep it as long as anything that is read from it."""
    promise = Gst.Promise.new()
    element.emit(signal, *arguments, promise)
    promise.wait()
    reply = promise.get_reply()
    if reply is not None and reply.has_field("error"):
        raise RuntimeError(reply.get_value("error").message)
    return reply


def description(kind, text):
    _, message = GstSdp.SDPMessage.new_from_text(text)
    return GstWebRTC.WebRTCSessionDescription.new(kind, message)


class Connection:
    """One webrtcbin."""

    def __init__(self, owner, sources, channels):
        self.owner = owner
        description = f"webrtcbin name=pc bundle-policy=max-bundle latency=20 {sources}"
        self.elements = Gst.parse_bin_from_description(description, False)
        self.pipeline = Gst.Pipeline.new(None)
        self.pipeline.add(self.elements)
        self.pc = self.elements.get_by_name("pc")
        # Kept: the agent's reference is a floating one, which the binding takes over, and with its last one the agent ends.
        self.ice = self.pc.get_property("ice-agent")
        # libnice leaves loopback out of its own accord.
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        if owner.turn:
            self.pc.set_property("ice-transport-policy", GstWebRTC.WebRTCICETransportPolicy.RELAY)
            if not self.pc.emit("add-turn-server", owner.turn):
                owner.errors.append("webrtcbin does not take the TURN server")
        self.pc.connect("on-data-channel", lambda _pc, channel: self.keep(channel))
        self.pc.connect("pad-added", self.on_pad)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        self.channels, self.opened = {}, []
        self.pipeline.set_state(Gst.State.PLAYING)
        for label in channels:
            self.keep(self.pc.emit("create-data-channel", label, None))

    def keep(self, channel):
        label = channel.get_property("label")
        self.channels[label] = channel
        channel.connect("on-open", lambda _channel: self.opened.append(label))
        channel.connect("on-message-data", lambda _channel, data: self.owner.on_data(label, data))

    def on_message(self, _bus, message):
        structure = message.get_structure()
        if message.type == Gst.MessageType.ERROR:
            error, detail = message.parse_error()
            self.owner.errors.append(f"{message.src.get_name()}: {error.message} ({detail})")
        elif structure and structure.get_name() == "spectrum":
            # The binding cannot read the list of magnitudes; its text can be.
            text = structure.to_string()
            values = text[text.index("magnitude=") :]
            levels = [float(v) for v in values[values.index("{") + 1 : values.index("}")].replace("(float)", "").split(",")]
            loudest = max(range(1, len(levels)), key=levels.__getitem__)
            self.owner.audio = {"hz": (loudest + 0.5) * BAND_HZ, "db": levels[loudest]}

    def on_pad(self, _pc, pad):
        if pad.get_direction() != Gst.PadDirection.SRC:
            return
        video = pad.get_current_caps().get_structure(0).get_string("media") == "video"
        branch = Gst.parse_bin_from_description(f"queue ! {EYE if video else EAR}", True)
        if video:
            branch.get_by_name("eye").connect("new-sample", self.on_frame)
        self.elements.add(branch)
        branch.sync_state_with_parent()
        pad.link(branch.get_static_pad("sink"))

    def on_frame(self, sink):
        sample = sink.emit("pull-sample")
        shape = sample.get_caps().get_structure(0)
        width, height = shape.get_value("width"), shape.get_value("height")
        buffer = sample.get_buffer()
        middle = (height // 2) * ((width * 3 + 3) // 4 * 4) + width // 2 * 3
        seen = self.owner.video
        seen["frames"] += 1
        seen["size"] = f"{width}x{height}"
        seen["colour"] = list(buffer.extract_dup(middle, 3))
        return Gst.FlowReturn.OK

    def offer(self):
        # A section needs the caps of what is sent on it.
        end = time.monotonic() + 5
        while not all(pad.get_current_caps() for pad in self.pc.sinkpads):
            if time.monotonic() > end:
                raise TimeoutError("the sources do not start")
            time.sleep(0.01)
        reply = call(self.pc, "create-offer", None)
        offer = reply.get_value("offer")
        call(self.pc, "set-local-description", offer)
        return offer.sdp.as_text()

    def answer(self, sdp):
        call(self.pc, "set-remote-description", description(GstWebRTC.WebRTCSDPType.OFFER, sdp))
        reply = call(self.pc, "create-answer", None)
        answer = reply.get_value("answer")
        call(self.pc, "set-local-description", answer)
        return answer.sdp.as_text()

    def take_answer(self, sdp):
        call(self.pc, "set-remote-description", description(GstWebRTC.WebRTCSDPType.ANSWER, sdp))

    def state(self):
        return {
            "connection": self.pc.get_property("connection-state").value_nick,
            "opened": self.opened,
        }


class Participant:
    def __init__(self):
        self.connections, self.errors, self.messages = {}, [], []
        self.turn = None
        self.audio, self.video = None, {"frames": 0, "size": None, "colour": None}

    def on_data(self, label, data):
        self.messages.append({"label": label, "data": base64.b64encode(data.get_data()).decode()})

    def relay(self, uri):
        """Has the connections made from now on use nothing but this TURN server."""
        self.turn = uri

    def publish(self, hz, colour, channels):
        """Makes the connection that sends; answers its offer."""
        argb = 0xFF << 24 | colour[0] << 16 | colour[1] << 8 | colour[2]
        self.connections["publisher"] = Connection(self, SOURCES.format(hz=hz, argb=argb), channels)
        return self.connections["publisher"].offer()

    def published(self, sdp):
        self.connections["publisher"].take_answer(sdp)

    def subscribe(self, sdp):
        """Takes an offer on the connection that receives; answers the answer."""
        if "subscriber" not in self.connections:
            self.connections["subscriber"] = Connection(self, "", [])
        return self.connections["subscriber"].answer(sdp)

    def send(self, label, data):
        bytes_ = GLib.Bytes.new(base64.b64decode(data))
        self.connections["publisher"].channels[label].emit("send-data", bytes_)

    def state(self):
        return {
            "connections": {name: connection.state() for name, connection in self.connections.items()},
            "audio": self.audio,
            "video": self.video,
            "messages": self.messages,
            "errors": self.errors,
        }


def main():
    Gst.init(None)
    answers = os.fdopen(3, "w", buffering=1)
    loop = GLib.MainLoop()
    threading.Thread(target=loop.run, daemon=True).start()
    participant = Participant()
    print(json.dumps({"sdk": Gst.version_string()}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            value = getattr(participant, command["name"])(**command["wish"])
            answer = {"id": command["id"], "value": value}
        except Exception as error:  # the test judges what it says
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    os._exit(0)  # standard input was closed: the test is over


main()
