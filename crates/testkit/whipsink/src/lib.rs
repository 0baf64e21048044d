//! Nothing of its own: the plugin's entry point, exported from a file of the name that GStreamer expects.

pub use webrtchttp::*;
