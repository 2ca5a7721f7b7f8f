#![no_main]
//! `tether::fuzz::control_messages` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::control_messages(data));
