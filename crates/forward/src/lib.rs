//! The RTP forwarding core, sans-IO
