//! Names for what the shards' TURN servers count.

use schalter_model::{Counters, ShardId, TurnCounters, TurnRefusal};

use crate::families::Families;

pub(crate) fn add(families: &mut Families, shards: &[(ShardId, Counters)]) {
    // Taken apart, so that a new counter without a metric does not compile.
    let TurnCounters {
        allocations: _,
        allocated: _,
        refusals: _,
        relayed_in: _,
        relayed_bytes_in: _,
        relayed_out: _,
        relayed_bytes_out: _,
    } = TurnCounters::default();
    let sum = |field: fn(&TurnCounters) -> u64| -> u64 {
        shards
            .iter()
            .map(|(_, counters)| field(&counters.turn))
            .sum()
    };
    families.gauge(
        "schalter_turn_allocations",
        "TURN allocations now.",
        sum(|turn| turn.allocations) as f64,
    );
    let mut counter = |name, help, field| families.counter(name, help, sum(field));
    counter(
        "schalter_turn_allocations_made_total",
        "TURN allocations made.",
        |turn| turn.allocated,
    );
    counter(
        "schalter_turn_relayed_datagrams_received_total",
        "Datagrams that clients sent through relays to media sockets.",
        |turn| turn.relayed_in,
    );
    counter(
        "schalter_turn_relayed_received_bytes_total",
        "Bytes of these, without what TURN adds.",
        |turn| turn.relayed_bytes_in,
    );
    counter(
        "schalter_turn_relayed_datagrams_sent_total",
        "Datagrams sent to clients through relays.",
        |turn| turn.relayed_out,
    );
    counter(
        "schalter_turn_relayed_sent_bytes_total",
        "Bytes of these, with what TURN adds.",
        |turn| turn.relayed_bytes_out,
    );
    families.counters(
        "schalter_turn_refusals_total",
        "TURN requests refused, by the number of the error. A client's first request is always refused with 401; 403 is an attempt to \
         reach something else than media.",
        TurnRefusal::ALL.iter().map(|refusal| {
            let count: u64 = shards
                .iter()
                .map(|(_, counters)| counters.turn.refusals.of(*refusal))
                .sum();
            ([("code", refusal.label())], count as f64)
        }),
    );
}
