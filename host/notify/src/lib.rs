//! What a run tells the outside: alerts, lineage events, traces and metrics.
