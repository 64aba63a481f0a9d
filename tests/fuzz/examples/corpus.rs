//! Writes the corpus of every target, for cargo-fuzz: a directory a target,
//! in the one that is named, and beside it what mutations insert, as
//! libFuzzer's dictionary.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use syncline_fuzz::{TARGETS, transcripts};

fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).expect("a directory");
    let transcripts = transcripts::read();
    for target in &TARGETS {
        let inputs = Path::new(&directory).join(target.name);
        fs::create_dir_all(&inputs)?;
        for (index, input) in (target.corpus)(&transcripts).iter().enumerate() {
            fs::write(inputs.join(format!("{index:04}")), input)?;
        }
        let mut dictionary = String::new();
        for word in target.words {
            // Bytes that are no text are written in hexadecimal.
            let bytes = word.bytes().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "\\x{byte:02x}");
                text
            });
            let _ = writeln!(dictionary, "\"{bytes}\"");
        }
        fs::write(inputs.with_extension("dict"), dictionary)?;
    }
    Ok(())
}
