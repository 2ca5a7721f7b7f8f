#![no_main]
//! `tether::fuzz::serial_port` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::serial_port(data));
