#![no_main]
//! `tether::fuzz::document` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::document(data));
