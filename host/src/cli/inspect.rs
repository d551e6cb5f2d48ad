//! `wasmill plugin inspect`.

use super::Exit;
use super::args::InspectArguments;

/// Shows what a plugin has, and what a job would refuse.
pub fn run(arguments: InspectArguments) -> Exit {
    let _ = arguments.json;
    eprintln!(
        "error: {}: inspecting plugins is still in work",
        arguments.plugin.display()
    );
    Exit::Refused
}
