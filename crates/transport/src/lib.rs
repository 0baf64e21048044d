//! One peer, sans-IO: ICE-lite, DTLS, SRTP, SCTP and data channels
