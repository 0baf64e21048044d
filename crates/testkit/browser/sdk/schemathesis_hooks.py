"""What schemathesis must know to send descriptions and fragments: right ones, and such with lines lost, twice or in disorder; and to ask
for appointments that are there."""

import json
import os
import re
import zlib

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


# `{id, person, external_ref}` of each appointment that was made before the run; random ones would all be unknown.
PLANNED = json.loads(os.environ.get("SCHALTER_TEST_APPOINTMENTS", "[]"))


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """Puts real ids in the place of three in four well-formed ones. Malformed ones, and the fourth, stay: they must be refused."""
    path = case.path_parameters or {}
    named = str(path.get("id") if "id" in path else path.get("external_ref"))
    if "id" in path:
        well_formed = re.fullmatch("apt_[a-z2-7]{26}", named)
    else:
        well_formed = "external_ref" in path and re.fullmatch("[!-~]{1,128}", named)
    chosen = zlib.crc32(named.encode())
    # The key comes with every request: where it was to be missing, an appointment that is there would tell of other faults.
    keyless = str(getattr(case.meta and case.meta.phase.data, "parameter", None)).lower() == "authorization"
    if not PLANNED or not well_formed or keyless or chosen % 4 == 0:
        return
    real = PLANNED[chosen // 4 % len(PLANNED)]
    for name in path:
        if name != "person" or re.fullmatch("per_[a-z2-7]{26}", str(path[name])):
            path[name] = real.get(name, path[name])
    # Whatever the version is by now.
    if case.headers and "If-Match" in case.headers:
        case.headers["If-Match"] = "*"


@schemathesis.hook
def before_load_schema(_context, raw_schema):
    """Where cookies come with every request, none is ever missing: leaves their names, which differ on the loopback, out."""
    if os.environ.get("SCHALTER_TEST_SESSIONS") != "1":
        return
    cookies = {name for name, scheme in raw_schema["components"]["securitySchemes"].items() if scheme.get("in") == "cookie"}
    for item in raw_schema["paths"].values():
        for operation in item.values():
            if isinstance(operation, dict) and "security" in operation:
                operation["security"] = [one for one in operation["security"] if not cookies & set(one)]
