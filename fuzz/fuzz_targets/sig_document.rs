#![no_main]
#[path = "../checks/sig_document.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::run(data));
