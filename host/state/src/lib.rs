//! What odibi remembers between runs: runs, batches, leases and watermarks.
