"""A publisher with GStreamer's whipsink, told what to do in JSON lines.

Commands come on standard input, answers go to file descriptor 3. What it sends is a tone and frames of one colour with a
barcode, as in lib/barcode.mjs.
"""

import json
import os
import sys
import threading
import time

import gi
from barcode import cells, encode_bits

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst  # noqa: E402

WIDTH, HEIGHT, FPS = 320, 180, 15
COLOUR = bytes([60, 80, 200])

PIPELINE = (
    " appsrc name=camera is-live=true format=time do-timestamp=true"
    f" caps=video/x-raw,format=RGB,width={WIDTH},height={HEIGHT},framerate={FPS}/1"
    " ! queue ! videoconvert ! vp8enc deadline=1 keyframe-max-dist=30 target-bitrate=400000"
    " ! rtpvp8pay pt=96 picture-id-mode=15-bit"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000 ! whip.sink_0"
    " audiotestsrc is-live=true freq={hz} volume=0.3 ! audio/x-raw,rate=48000,channels=2 ! opusenc ! rtpopuspay pt=111"
    " ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000 ! whip.sink_1"
    " whipsink name=whip"
)


def paint(sender):
    """One frame, row by row: rows of cells are alike."""
    now = int(time.time() * 1000)
    rows = {}
    for (left, top, right, bottom), bit in zip(cells(WIDTH, HEIGHT), encode_bits(sender, now)):
        row, _ = rows.setdefault(top, (bytearray(WIDTH * 3), bottom))
        row[left * 3 : right * 3] = bytes([255 * bit]) * (3 * (right - left))
    strip = b"".join(bytes(row) * (bottom - top) for top, (row, bottom) in sorted(rows.items()))
    below = COLOUR * (WIDTH * HEIGHT - len(strip) // 3)
    return strip + below


class Publisher:
    def __init__(self):
        self.pipeline, self.errors = None, []

    def publish(self, url, token, sender, hz):
        self.pipeline = Gst.parse_launch(PIPELINE.format(hz=hz))
        whip = self.pipeline.get_by_name("whip")
        whip.set_property("whip-endpoint", url)
        whip.set_property("auth-token", token)
        # libnice leaves loopback out of its own accord. Kept: the agent's reference is a floating one.
        self.ice = whip.get_by_name("whip-webrtcbin").get_property("ice-agent")
        self.ice.emit("add-local-ip-address", "127.0.0.1")
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", self.on_error)
        camera = self.pipeline.get_by_name("camera")
        self.pipeline.set_state(Gst.State.PLAYING)
        threading.Thread(target=self.film, args=(camera, sender), daemon=True).start()

    def film(self, camera, sender):
        due = time.monotonic()
        while self.pipeline is not None:
            camera.emit("push-buffer", Gst.Buffer.new_wrapped(paint(sender)))
            due += 1 / FPS
            time.sleep(max(0.0, due - time.monotonic()))

    def on_error(self, _bus, message):
        error, detail = message.parse_error()
        self.errors.append(f"{message.src.get_name()}: {error.message} ({detail})")

    def stop(self):
        pipeline, self.pipeline = self.pipeline, None
        pipeline.set_state(Gst.State.NULL)

    def state(self):
        return {"errors": self.errors}


def main():
    Gst.init(None)
    answers = os.fdopen(3, "w", buffering=1)
    threading.Thread(target=GLib.MainLoop().run, daemon=True).start()
    publisher = Publisher()
    factory = Gst.ElementFactory.find("whipsink")
    plugin = factory and factory.get_plugin()
    sdk = f"{plugin.get_package()} {plugin.get_version()}" if plugin else "no whipsink: GST_PLUGIN_PATH names no folder with it"
    print(json.dumps({"sdk": sdk}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            value = getattr(publisher, command["name"])(**command["wish"])
            answer = {"id": command["id"], "value": value}
        except Exception as error:  # the test judges what it says
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    os._exit(0)  # standard input was closed: the test is over


main()
