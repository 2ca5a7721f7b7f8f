#![no_main]
//! `tether::fuzz::vmx_file` with the fuzzer's bytes.

libfuzzer_sys::fuzz_target!(|data: &[u8]| tether::fuzz::vmx_file(data));
