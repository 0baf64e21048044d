//! Runs that are more than one measured call.

pub mod churn;
pub mod hostile;
