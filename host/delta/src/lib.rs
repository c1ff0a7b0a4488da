//! Delta tables as sources and targets.
