//! What needs no child. The child itself is tested by the hostile corpus, which has the binary.

use crate::plugin::tests::PLAIN;
use crate::plugin::{CacheDir, Compiler, Engine, EngineOptions, LoadError, LoadOptions};

fn engine(program: &str) -> Engine {
    Engine::new(EngineOptions {
        cache: CacheDir::Off,
        ..EngineOptions::new(Compiler::Child(program.into()))
    })
    .unwrap()
}

fn refused(program: &str) -> LoadError {
    engine(program)
        .load(PLAIN.as_bytes(), &LoadOptions::default())
        .unwrap_err()
}

#[test]
fn without_its_program_nothing_is_compiled_in_process_instead() {
    let words = refused("/nowhere/wasmill").to_string();
    assert!(
        words.starts_with("cannot be compiled: the compiler's process: cannot start it: "),
        "{words}"
    );
}

#[test]
fn a_program_that_answers_nothing_or_nonsense_is_no_compiler() {
    for program in ["/bin/true", "/bin/false", "/bin/echo"] {
        let words = refused(program).to_string();
        assert!(
            words.contains("ended without an answer"),
            "{program}: {words}"
        );
    }
}
