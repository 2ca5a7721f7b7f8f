//! The bytes that the fuzzer has found worth keeping, through the functions that it feeds
//! (`tests/fuzz/corpus/NAME/*`, `src/fuzz.rs`).

use std::fs;
use std::path::Path;

use tether::fuzz::BODIES;

#[test]
fn what_the_fuzzer_has_found_is_no_trouble() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    for (name, body) in BODIES {
        let folder = corpus.join(name);
        let files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut count = 0;
        for file in files {
            let path = file.expect("a file").path();
            let bytes = fs::read(&path).expect("its bytes");
            assert!(bytes.len() <= 64 << 10, "{} is large", path.display());
            let fed = std::panic::catch_unwind(|| body(&bytes));
            assert!(fed.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count >= 3, "{name}: {count} files");
    }
}

#[test]
fn each_function_has_its_target() {
    let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/fuzz_targets");
    for (name, _) in BODIES {
        assert!(targets.join(format!("{name}.rs")).is_file(), "{name}");
    }
}
