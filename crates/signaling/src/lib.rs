//! Rooms, participants, tracks, SDP and tokens; the LiveKit protocol
