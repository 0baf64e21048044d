//! Descriptions of recorded clients: what they mean, and what we answer and offer.

mod answer;
mod fixture;
mod offer;
mod parse;
