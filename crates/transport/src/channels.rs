//! The data channels of one transport (RFC 8831, RFC 8832): which streams are channels, in which state, and what waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use schalter_model::DropReason;

use crate::data_channel::{Dcep, check_names};
use crate::sctp::{MessageKind, Sctp, SctpEvent, SctpLimits, WriteError};
use crate::{
    ChannelId, DataChannelConfig, DataError, Reliability, TransportEvent, TransportLimits,
};

/// Highest stream that we open a channel on; the library refuses none below.
const STREAM_MAX: u16 = 1023;
/// Streams may be in use that are no channel yet or no longer: one in each direction of opening and closing.
const STREAMS_PER_CHANNEL: usize = 2;

enum State {
    /// SCTP is not up. Messages worth keeping wait here.
    Planned {
        waiting: VecDeque<(MessageKind, Bytes)>,
        bytes: usize,
    },
    /// Our OPEN is on its way. Messages may follow it, in order (RFC 8832 §6).
    Opening,
    Open,
    /// We have reset our side.
    Closing,
}

struct Channel {
    config: DataChannelConfig,
    state: State,
}

/// All channels of one transport, and the association under them.
pub(crate) struct Channels {
    pub(crate) sctp: Sctp,
    table: BTreeMap<u16, Channel>,
    limits: TransportLimits,
    established: bool,
    over: bool,
}

impl Channels {
    pub(crate) fn new(limits: TransportLimits) -> Self {
        let sctp = Sctp::new(SctpLimits {
            max_message_size: limits.max_message_size,
            receive_buffer: limits.receive_buffer,
            send_buffer: limits.channel_send_buffer,
            max_streams: limits.max_channels * STREAMS_PER_CHANNEL,
        });
        Self {
            sctp,
            table: BTreeMap::new(),
            limits,
            established: false,
            over: false,
        }
    }

    /// Opens a channel, now or as soon as SCTP is up. Ours have odd streams, as DTLS servers' do (RFC 8832 §6).
    pub(crate) fn open(
        &mut self,
        now: Instant,
        config: DataChannelConfig,
    ) -> Result<ChannelId, DataError> {
        check_names(&config)?;
        if self.over {
            return Err(DataError::NotOpen);
        }
        if self.table.len() >= self.limits.max_channels {
            return Err(DataError::TooManyChannels);
        }
        let stream = (1..=STREAM_MAX)
            .step_by(2)
            .find(|stream| !self.table.contains_key(stream))
            .ok_or(DataError::TooManyChannels)?;
        self.sctp.want();
        self.table.insert(
            stream,
            Channel {
                config,
                state: State::Planned {
                    waiting: VecDeque::new(),
                    bytes: 0,
                },
            },
        );
        if self.established {
            self.send_open(now, stream);
        }
        Ok(ChannelId(stream))
    }

    /// Sends the OPEN of a planned channel and what waits behind it.
    fn send_open(&mut self, now: Instant, stream: u16) {
        let Some(channel) = self.table.get_mut(&stream) else {
            return;
        };
        let State::Planned { waiting, .. } = std::mem::replace(&mut channel.state, State::Opening)
        else {
            return;
        };
        let open = Dcep::Open(channel.config.clone()).to_bytes();
        let reliability = channel.config.reliability;
        self.sctp.open_stream(stream, &channel.config);
        // Until the peer has acknowledged, an unordered message could overtake the OPEN.
        self.sctp.set_delivery(stream, true, reliability);
        // A refusal means that the association went down meanwhile, which closes the channel anyway.
        let _ = self.sctp.write(now, stream, MessageKind::Dcep, &open);
        for (kind, data) in waiting {
            let _ = self.sctp.write(now, stream, kind, &data);
        }
    }

    /// The open channel with this label; of several, the one opened on the lowest stream.
    pub(crate) fn by_label(&self, label: &str) -> Option<ChannelId> {
        self.table
            .iter()
            .find(|(_, c)| &*c.config.label == label && !matches!(c.state, State::Closing))
            .map(|(stream, _)| ChannelId(*stream))
    }

    pub(crate) fn send(
        &mut self,
        now: Instant,
        id: ChannelId,
        binary: bool,
        data: Bytes,
    ) -> Result<(), DataError> {
        let channel = self.table.get_mut(&id.0).ok_or(DataError::UnknownChannel)?;
        if data.len() > self.limits.max_message_size as usize {
            return Err(DataError::TooLarge);
        }
        if !binary && std::str::from_utf8(&data).is_err() {
            return Err(DataError::NotText);
        }
        let kind = if binary {
            MessageKind::Binary
        } else {
            MessageKind::Text
        };
        match &mut channel.state {
            State::Planned { waiting, bytes } => {
                if channel.config.reliability != Reliability::Reliable {
                    return Err(DataError::NotOpen);
                }
                // Counted with one byte more, so that empty messages have a bound as well.
                let cost = data.len() + 1;
                if *bytes + cost > self.limits.channel_send_buffer {
                    return Err(DataError::BufferFull);
                }
                *bytes += cost;
                waiting.push_back((kind, data));
                Ok(())
            }
            State::Opening | State::Open => {
                self.sctp
                    .write(now, id.0, kind, &data)
                    .map_err(|error| match error {
                        WriteError::Closed => DataError::NotOpen,
                        WriteError::Full => DataError::BufferFull,
                    })
            }
            State::Closing => Err(DataError::NotOpen),
        }
    }

    /// Resets the stream; the channel is gone once the peer has reset its side.
    pub(crate) fn close(
        &mut self,
        now: Instant,
        id: ChannelId,
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), DataError> {
        let channel = self.table.get_mut(&id.0).ok_or(DataError::UnknownChannel)?;
        match channel.state {
            State::Planned { .. } => {
                self.table.remove(&id.0);
                events.push_back(TransportEvent::ChannelClosed { channel: id });
            }
            State::Opening | State::Open => {
                channel.state = State::Closing;
                self.sctp.reset(now, id.0);
            }
            State::Closing => {}
        }
        Ok(())
    }

    /// Handles what SCTP has to say; answers the last reason to drop a message, if one was dropped.
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        events: &mut VecDeque<TransportEvent>,
    ) -> Option<DropReason> {
        let mut dropped = None;
        while let Some(event) = self.sctp.poll_event() {
            let result = match event {
                SctpEvent::Established => {
                    self.established = true;
                    let planned: Vec<u16> = self.table.keys().copied().collect();
                    for stream in planned {
                        self.send_open(now, stream);
                    }
                    Ok(())
                }
                SctpEvent::Message {
                    stream,
                    kind: MessageKind::Dcep,
                    data,
                } => self.on_dcep(now, stream, &data, events),
                SctpEvent::Message { stream, kind, data } => {
                    self.on_message(stream, kind, data, events)
                }
                SctpEvent::Dropped(reason) => Err(reason),
                SctpEvent::StreamReset(stream) => {
                    if self.table.remove(&stream).is_some() {
                        let channel = ChannelId(stream);
                        events.push_back(TransportEvent::ChannelClosed { channel });
                    }
                    Ok(())
                }
                SctpEvent::Lost => {
                    self.over = true;
                    for (stream, _) in std::mem::take(&mut self.table) {
                        let channel = ChannelId(stream);
                        events.push_back(TransportEvent::ChannelClosed { channel });
                    }
                    Ok(())
                }
            };
            if let Err(reason) = result {
                dropped = Some(reason);
            }
        }
        dropped
    }

    fn on_dcep(
        &mut self,
        now: Instant,
        stream: u16,
        data: &[u8],
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), DropReason> {
        match Dcep::parse(data).map_err(|_| DropReason::SctpMalformed)? {
            Dcep::Open(config) => {
                if self.table.contains_key(&stream) {
                    return Err(DropReason::SctpMalformed);
                }
                if self.table.len() >= self.limits.max_channels {
                    self.sctp.reset(now, stream);
                    return Err(DropReason::DataOverload);
                }
                self.sctp.open_stream(stream, &config);
                // See `send_open` for the refusal.
                let _ = self
                    .sctp
                    .write(now, stream, MessageKind::Dcep, &Dcep::Ack.to_bytes());
                self.table.insert(
                    stream,
                    Channel {
                        config: config.clone(),
                        state: State::Open,
                    },
                );
                let channel = ChannelId(stream);
                events.push_back(TransportEvent::ChannelOpened { channel, config });
                Ok(())
            }
            Dcep::Ack => {
                let channel = self
                    .table
                    .get_mut(&stream)
                    .ok_or(DropReason::SctpMalformed)?;
                Self::opened(&mut self.sctp, stream, channel, events);
                Ok(())
            }
        }
    }

    /// The peer has our OPEN: it said so, or sent a message on the stream, which says the same (RFC 8832 §6).
    fn opened(
        sctp: &mut Sctp,
        stream: u16,
        channel: &mut Channel,
        events: &mut VecDeque<TransportEvent>,
    ) {
        if matches!(channel.state, State::Opening) {
            channel.state = State::Open;
            let config = channel.config.clone();
            sctp.set_delivery(stream, config.ordered, config.reliability);
            let channel = ChannelId(stream);
            events.push_back(TransportEvent::ChannelOpened { channel, config });
        }
    }

    fn on_message(
        &mut self,
        stream: u16,
        kind: MessageKind,
        data: Bytes,
        events: &mut VecDeque<TransportEvent>,
    ) -> Result<(), DropReason> {
        let channel = self
            .table
            .get_mut(&stream)
            .ok_or(DropReason::SctpMalformed)?;
        Self::opened(&mut self.sctp, stream, channel, events);
        let binary = kind == MessageKind::Binary;
        if !binary && std::str::from_utf8(&data).is_err() {
            return Err(DropReason::SctpMalformed);
        }
        if !matches!(channel.state, State::Open) {
            return Ok(());
        }
        events.push_back(TransportEvent::Data {
            channel: ChannelId(stream),
            label: Arc::clone(&channel.config.label),
            binary,
            data,
        });
        Ok(())
    }
}
