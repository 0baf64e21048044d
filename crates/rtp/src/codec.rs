//! Codec payload descriptors: what a forwarder must know about a frame without decoding it.
