#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    syncline_fuzz::frames_rpc::check(input);
});
