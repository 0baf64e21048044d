//! RTP and RTCP views, header extensions, unwrapping and codec descriptors
