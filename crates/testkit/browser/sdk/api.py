"""The room service by the unmodified Python SDK, told what to call in JSON lines like a participant.

Requests and answers are in proto3 JSON, so that a test reads those of every SDK alike.
"""

import asyncio
import importlib.metadata
import json
import os
import sys

from google.protobuf import json_format
from livekit import api

REQUESTS = {
    "create_room": api.CreateRoomRequest,
    "list_rooms": api.ListRoomsRequest,
    "delete_room": api.DeleteRoomRequest,
    "update_room_metadata": api.UpdateRoomMetadataRequest,
    "list_participants": api.ListParticipantsRequest,
    "get_participant": api.RoomParticipantIdentity,
    "remove_participant": api.RoomParticipantIdentity,
    "mute_published_track": api.MuteRoomTrackRequest,
    "update_participant": api.UpdateParticipantRequest,
    "update_subscriptions": api.UpdateSubscriptionsRequest,
    "send_data": api.SendDataRequest,
    "move_participant": api.MoveParticipantRequest,
    "forward_participant": api.ForwardParticipantRequest,
}


class Api:
    def __init__(self):
        self.api = None

    async def open(self, url, key, secret):
        self.api = api.LiveKitAPI(url, key, secret)

    async def receive(self, body, authorization, key, secret):
        """A webhook, as a receiver takes it."""
        event = api.WebhookReceiver(api.TokenVerifier(key, secret)).receive(body, authorization)
        return json_format.MessageToDict(event)

    async def call(self, method, request):
        message = json_format.ParseDict(request, REQUESTS[method]())
        answer = await getattr(self.api.room, method)(message)
        return json_format.MessageToDict(answer) if answer is not None else {}


async def main():
    loop = asyncio.get_running_loop()
    answers = os.fdopen(3, "w", buffering=1)
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    backend = Api()
    print(json.dumps({"sdk": f"livekit-api {importlib.metadata.version('livekit-api')}"}), file=answers)
    while line := await lines.readline():
        command = json.loads(line)
        try:
            value = await getattr(backend, command["name"])(**command["wish"])
            answer = {"id": command["id"], "value": value}
        except api.TwirpError as error:
            answer = {"id": command["id"], "error": f"{error.code} {error.status}: {error.message}"}
        except Exception as error:  # the test judges what the SDK says
            answer = {"id": command["id"], "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    os._exit(0)  # standard input was closed: the test is over


asyncio.run(main())
