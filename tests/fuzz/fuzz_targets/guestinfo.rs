#![no_main]
//! `tether::fuzz::guestinfo_keys` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::guestinfo_keys(data));
