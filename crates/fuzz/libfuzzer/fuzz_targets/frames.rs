#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| schalter_fuzz::frames::run(bytes));
