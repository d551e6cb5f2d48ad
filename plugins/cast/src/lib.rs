//! The classic first job: text becomes integers, the good are kept, the bad go to a port of their own.

use wasmill_plugin::text::integer;
use wasmill_plugin::{Emit, Fields, Output, State, aggregate, config, filter, plugin, transform};

plugin! { to_integer, at_least, Tally }

#[derive(Fields)]
struct Line<'a> {
    #[field(value)]
    text: &'a str,
}

/// Text to an integer; other text goes, as it is, to port `bad`.
#[transform(ports("bad"))]
fn to_integer(line: Line<'_>, out: &mut Output<i64>) {
    match integer(line.text) {
        Some(n) => {
            out.emit(n);
        }
        None => {
            out.pass().to_port("bad");
        }
    }
}

#[config]
struct Least {
    /// The least number to keep
    #[serde(default)]
    least: i64,
}

#[derive(Fields)]
struct Number {
    #[field(pointer = "")]
    n: i64,
}

/// Keeps numbers from `least` on.
#[filter]
fn at_least(number: Number, config: &Least) -> bool {
    number.n >= config.least
}

/// What is counted is also what is put out.
#[derive(Default, State, Emit)]
struct Tally {
    count: i64,
    sum: i64,
}

/// How many numbers, and their sum.
#[aggregate]
impl Tally {
    fn add(&mut self, number: Number) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number.n);
    }

    fn finish(self) -> Tally {
        self
    }
}
