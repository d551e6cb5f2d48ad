//! `wasmill limits`: what a plugin may use and cause, by default and at most, and what holds its compiler.

use serde_json::{Value, json};

use super::Exit;
use super::args::LimitsArguments;
use super::check::show_problems;
use super::style::{fold, say};
use crate::config::{Operator, show_limit, show_size};
use crate::plugin::limits::{SETTINGS, Unit};
use crate::plugin::{Gap, Limits, support};

/// Shows the limits that hold under the operator's settings.
pub fn run(arguments: LimitsArguments) -> Exit {
    let operator = match arguments.operator.operator() {
        Ok(operator) => operator,
        Err(problems) => return show_problems(&problems),
    };
    let gaps = support();
    if arguments.json {
        say(&format!("{:#}", to_json(&operator, &gaps)));
    } else {
        say(text(&operator, &gaps).trim_end_matches('\n'));
    }
    Exit::Fine
}

fn text(operator: &Operator, gaps: &[Gap]) -> String {
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
    out += "its process is held by limits, no_new_privs, landlock and seccomp";
    if gaps.is_empty() {
        out += "\n";
    } else {
        out += ", but not wholly on this system:\n";
        for gap in gaps {
            out += &fold("  ", 4, &gap.to_string());
        }
    }
    out
}

fn to_json(operator: &Operator, gaps: &[Gap]) -> Value {
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
            "not_enforced": gaps.iter().map(|gap| gap.layer).collect::<Vec<_>>(),
            "not_enforced_because": gaps.iter().map(|gap| gap.why.as_str()).collect::<Vec<_>>(),
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
        let gaps = [Gap {
            layer: "landlock",
            why: "this kernel has none".into(),
        }];
        let text = text(&operator, &gaps);
        let json = to_json(&operator, &gaps);
        for s in SETTINGS {
            assert!(text.contains(s.key), "{}", s.key);
        }
        assert!(
            text.contains("memory                   8MiB        8MiB  memory"),
            "{text}"
        );
        assert!(
            text.contains("\n  landlock: this kernel has none\n"),
            "{text}"
        );
        assert_eq!(
            json["limits"].as_array().map(Vec::len),
            Some(SETTINGS.len())
        );
        assert_eq!(json["compile"]["not_enforced"], json!(["landlock"]));
        assert_eq!(
            json["compile"]["not_enforced_because"],
            json!(["this kernel has none"])
        );
    }
}
