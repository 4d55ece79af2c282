//! The state JSON and everything that can be said about it without a disk.
