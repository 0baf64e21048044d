//! Simulated clocks, networks and peers for tests
