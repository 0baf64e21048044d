//! The flow against a provider of the test: what a real one never does is here.
