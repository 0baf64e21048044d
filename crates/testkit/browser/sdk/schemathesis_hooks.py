"""What schemathesis must know to send descriptions and fragments: right ones, and such with lines lost, twice or in disorder."""

import os

import schemathesis
from hypothesis import strategies as st

FRAGMENT = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789abcdefghijklmn\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 2113937151 192.0.2.1 5000 typ host\r\na=end-of-candidates\r\n"

with open(os.environ["SCHALTER_TEST_OFFER"], newline="") as file:
    OFFER = file.read()


@st.composite
def damaged(draw, text):
    lines = text.split("\r\n")
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        kind = draw(st.sampled_from(["drop", "repeat", "move", "cut", "write"]))
        if kind == "drop":
            del lines[at]
        elif kind == "repeat":
            lines.insert(at, lines[at])
        elif kind == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines.pop(at))
        elif kind == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        else:
            lines[at] = draw(st.text(max_size=40))
        if not lines:
            break
    return "\r\n".join(lines).encode("utf-8", "replace")


def body(text):
    return st.one_of(damaged(text), st.binary(max_size=200))


@schemathesis.serializer("application/sdp", "application/trickle-ice-sdpfrag")
def write(_context, value):
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


schemathesis.openapi.media_type("application/sdp", body(OFFER.replace("a=recvonly", "a=sendonly")))
schemathesis.openapi.media_type("application/trickle-ice-sdpfrag", body(FRAGMENT))
