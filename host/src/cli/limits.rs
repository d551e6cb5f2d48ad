//! `wasmill limits`: what a plugin may use and cause, by default and at most, and what holds its compiler.

use serde_json::{Value, json};

use super::Exit;
use super::args::LimitsArguments;
use super::check::show_problems;
use super::style::say;
use crate::config::{Operator, show_limit, show_size};
use crate::plugin::limits::{SETTINGS, Unit};
use crate::plugin::{Limits, Support, support};

/// Shows the limits that hold under the operator's settings.
pub fn run(arguments: LimitsArguments) -> Exit {
    let operator = match arguments.operator.operator() {
        Ok(operator) => operator,
        Err(problems) => return show_problems(&problems),
    };
    let support = support();
    if arguments.json {
        say(&format!("{:#}", to_json(&operator, support)));
    } else {
        say(text(&operator, support).trim_end_matches('\n'));
    }
    Exit::Fine
}

/// Names of what the kernel lacks.
fn missing(support: Support) -> Vec<&'static str> {
    [(support.landlock, "landlock"), (support.seccomp, "seccomp")]
        .into_iter()
        .filter_map(|(there, name)| (!there).then_some(name))
        .collect()
}

fn text(operator: &Operator, support: Support) -> String {
    let defaults = Limits::default().clamped_to(&operator.limits);
    let mut out = format!(
        "{:<18} {:>10} {:>11}  {:<16} {}\n",
        "limit", "default", "at most", "past it", "of what"
    );
    for s in SETTINGS {
        out += &format!(
            "{:<18} {:>10} {:>11}  {:<16} {}\n",
            s.key,
            show_limit(s.unit, (s.get)(&defaults)),
            show_limit(s.unit, (s.get)(&operator.limits)),
            s.past,
            s.about
        );
    }
    let compile = &operator.compile;
    out += &format!(
        "\ncompiling a plugin: {} of memory, {} s of CPU time, {} s, {} of machine code; else COMPILE_LIMIT\n",
        show_size(compile.memory_bytes),
        compile.cpu.as_secs(),
        compile.wall.as_secs(),
        show_size(compile.code_bytes_max),
    );
    out += &match missing(support)[..] {
        [] => "its process is held by limits, no_new_privs, landlock and seccomp\n".to_string(),
        ref none => format!(
            "its process is held by limits and no_new_privs; this kernel has no {}\n",
            none.join(", no ")
        ),
    };
    out
}

fn to_json(operator: &Operator, support: Support) -> Value {
    let defaults = Limits::default().clamped_to(&operator.limits);
    let limits: Vec<Value> = SETTINGS
        .iter()
        .map(|s| {
            json!({
                "key": s.key,
                "unit": match s.unit { Unit::Bytes => "bytes", Unit::Millis => "ms", Unit::Count => "count" },
                "default": (s.get)(&defaults),
                "most": (s.get)(&operator.limits),
                "past": s.past,
                "about": s.about,
            })
        })
        .collect();
    let compile = &operator.compile;
    json!({
        "limits": limits,
        "compile": {
            "memory_bytes": compile.memory_bytes,
            "cpu_ms": compile.cpu.as_millis() as u64,
            "wall_ms": compile.wall.as_millis() as u64,
            "code_bytes": compile.code_bytes_max,
            "not_enforced": missing(support),
        },
        "may_trust": operator.may_trust,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_shown_with_what_happens_past_it() {
        let mut operator = Operator::default();
        operator.limits.memory_bytes_max = 8 << 20;
        let support = Support {
            landlock: false,
            seccomp: true,
        };
        let text = text(&operator, support);
        let json = to_json(&operator, support);
        for s in SETTINGS {
            assert!(text.contains(s.key), "{}", s.key);
        }
        assert!(
            text.contains("memory                   8MiB        8MiB  memory"),
            "{text}"
        );
        assert!(text.contains("this kernel has no landlock"), "{text}");
        assert_eq!(
            json["limits"].as_array().map(Vec::len),
            Some(SETTINGS.len())
        );
        assert_eq!(json["compile"]["not_enforced"], json!(["landlock"]));
    }
}
