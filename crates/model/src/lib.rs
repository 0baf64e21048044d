//! Ids, time points, rates, drop reasons and counters by value
