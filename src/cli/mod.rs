//! The command lines: parse, call, print.

pub mod fsck;
pub mod gc;
