#![no_main]
//! `tether::fuzz::dhcp_server` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::dhcp_server(data));
