//! The Prometheus exporter: names, collector and HTTP endpoint
