#![no_main]
//! `tether::fuzz::conversation` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::conversation(data));
