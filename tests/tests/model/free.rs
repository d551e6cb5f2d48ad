//! Any job with any script, without a model: what comes out may not depend on the number of tasks, on restarts, or
//! on how often instances are replaced.
//!
//! Steps are put together at random. Where records of several tasks meet (behind a change of key after a step with
//! state) their order is open, so only steps follow there that do not ask for it.

use crate::random::Random;

/// A job and a script, with and without restarts.
pub struct Free {
    pub job: String,
    pub script: Vec<String>,
    /// The same lines, but flushes where the script goes back to a checkpoint.
    pub straight: Vec<String>,
}

/// Something that can be read.
#[derive(Clone)]
struct Node {
    name: String,
    /// There is a step with state before it.
    stateful: bool,
    /// Order within a key is open.
    open: bool,
    /// Its time is the clock's: no step by event time may follow.
    by_clock: bool,
    /// Another task may see its records: its key changed since a step with state.
    keyed: bool,
}

struct Maker<'a> {
    random: &'a mut Random,
    nodes: Vec<Node>,
    text: String,
    clock: bool,
    tables: usize,
}

/// A random job with its script.
pub fn make(random: &mut Random) -> Free {
    let clock = random.one_in(4);
    let mut maker = Maker {
        random,
        nodes: Vec::new(),
        text: String::new(),
        clock,
        tables: 0,
    };
    let sources = maker.random.between(1, 2) as usize;
    let names = ["in", "other"];
    for name in &names[..sources] {
        maker.source(name);
    }
    for number in 0..maker.random.between(1, 5) {
        maker.step(number);
    }
    let job = maker.finish();
    let (script, straight) = script(random, &names[..sources], clock);
    Free {
        job,
        script,
        straight,
    }
}

impl Maker<'_> {
    fn source(&mut self, name: &str) {
        let disorder = self.random.of(&[0, 2_000, 10_000]);
        self.text += &format!("[source.{name}]\ntype = \"generator\"\n");
        if self.random.one_in(4) {
            self.text += "timestamp = \"/t\"\n";
        }
        if !self.random.one_in(8) {
            self.text += &format!("event-time = {{ max-disorder = \"{disorder}ms\" }}\n");
        }
        self.nodes.push(Node {
            name: name.to_owned(),
            stateful: false,
            open: false,
            by_clock: false,
            keyed: false,
        });
    }

    fn any(&mut self) -> Node {
        let at = self.random.between(0, self.nodes.len() as i64 - 1) as usize;
        self.nodes[at].clone()
    }

    fn duration(&mut self) -> String {
        format!(
            "\"{}ms\"",
            self.random
                .of(&[1, 500, 1_000, 1_000, 3_000, 5_000, 10_000])
        )
    }

    /// One more step.
    fn step(&mut self, number: i64) {
        let name = format!("s{number}");
        let mut from = self.any();
        let mut read = format!("from = \"{}\"\n", from.name);
        if self.random.one_in(5) {
            let also = self.any();
            if also.name != from.name {
                read = format!("from = [\"{}\", \"{}\"]\n", from.name, also.name);
                from.stateful |= also.stateful;
                from.open |= also.open;
                from.by_clock |= also.by_clock;
                if self.random.one_in(4) {
                    read += "watermark = \"max\"\n";
                }
            }
        }
        let (body, mut node) = match self.random.between(0, 9) {
            0 | 1 => self.stateless(from),
            2..=5 => self.window(from),
            6 => self.join(from, &mut read),
            7 => self.lookup(from),
            8 => self.dedup(from),
            _ => self.process(from),
        };
        node.name.clone_from(&name);
        self.text += &format!("[step.{name}]\n{read}{body}");
        if node.keyed && self.random.one_in(4) {
            let late = Node {
                name: format!("{name}.late"),
                ..node.clone()
            };
            if body.contains("window = {") || body.contains("dedup") || body.contains("join") {
                self.nodes.push(late);
            }
        }
        self.nodes.push(node);
    }

    fn stateless(&mut self, from: Node) -> (String, Node) {
        if self.random.one_in(2) {
            let value = self.random.between(2, 6);
            let body = format!(
                "transform = \"std.filter\"\nconfig = {{ field = \"/n\", op = \">=\", value = {value} }}\n"
            );
            return (body, from);
        }
        let pointer = self
            .random
            .of(&["\"/k\"", "\"/n\"", "[\"/k\", \"/n\"]", "\"\""]);
        let node = Node {
            open: from.stateful,
            ..from
        };
        (format!("key = {pointer}\n"), node)
    }

    fn window(&mut self, from: Node) -> (String, Node) {
        let (size, every) = (self.duration(), self.duration());
        let open = from.open;
        let kinds = if open { 3 } else { 6 };
        let kind = self.random.between(0, kinds);
        let window = match kind {
            0 => format!("tumbling = {size}"),
            1 => format!("tumbling = {size}, offset = \"300ms\""),
            2 => format!("sliding = \"10s\", every = {every}"),
            3 => "global = true".to_owned(),
            4 => format!("session = {size}"),
            5 => format!("count = {}", self.random.between(1, 4)),
            _ => "count = 4, every = 2".to_owned(),
        };
        let ordered = [
            "collect", "first", "last", "count", "sum", "max", "distinct",
        ];
        let aggregate = if open {
            self.random.of(&["count", "max", "distinct"])
        } else {
            self.random.of(&ordered)
        };
        let field = match aggregate {
            "sum" | "max" if self.random.one_in(2) => "config = { field = \"/n\" }\n",
            _ => "",
        };
        let mut body = format!("window = {{ {window} }}\naggregate = \"std.{aggregate}\"\n{field}");
        let mut by_clock = from.by_clock;
        if kind < 5 {
            if self.clock && kind != 3 && (by_clock || self.random.one_in(3)) {
                body += "time = \"processing\"\n";
                by_clock = true;
            } else if !by_clock && kind != 3 && self.random.one_in(3) {
                body += &format!("allowed-lateness = {}\n", self.duration());
            }
            body += &self.firing(open, from.stateful);
        }
        let node = Node {
            stateful: true,
            open: false,
            by_clock,
            keyed: true,
            ..from
        };
        (body, node)
    }

    fn firing(&mut self, open: bool, stateful: bool) -> String {
        let emit = self.random.of(&["append", "append", "update", "complete"]);
        let mut parts = Vec::new();
        let records = !(open || emit == "complete" && stateful);
        if records && self.random.one_in(3) {
            parts.push(format!("records = {}", self.random.between(1, 3)));
        }
        if self.clock && self.random.one_in(3) {
            parts.push(format!("every = {}", self.duration()));
        }
        if self.random.one_in(4) {
            parts.push(format!("every-event = {}", self.duration()));
        }
        let mut text = format!("emit = \"{emit}\"\n");
        if !parts.is_empty() {
            text += &format!("trigger = {{ {} }}\n", parts.join(", "));
            if emit != "complete" && self.random.one_in(3) {
                text += "panes = \"discarding\"\n";
            }
        }
        text
    }

    fn join(&mut self, from: Node, read: &mut String) -> (String, Node) {
        let right = self.any();
        *read = format!("from = [\"{}\", \"{}\"]\n", from.name, right.name);
        if self.random.one_in(4) {
            *read += "watermark = \"max\"\n";
        }
        let kind = self
            .random
            .of(&["inner", "left", "right", "full", "semi", "anti"]);
        let bounds = match self.random.between(0, 2) {
            0 => format!("window = {{ tumbling = {} }}", self.duration()),
            1 => "within = { from = \"-1s\", to = \"2s\", exclusive = \"both\" }".to_owned(),
            _ => format!("within = {{ from = \"-2s\", to = {} }}", self.duration()),
        };
        let mut body = format!("join = \"{kind}\"\n{bounds}\n");
        if self.random.one_in(3) {
            body += &format!("allowed-lateness = {}\n", self.duration());
        }
        let node = Node {
            stateful: true,
            // Pairs come with the later row: in the order of both inputs together.
            open: from.open || right.open,
            by_clock: from.by_clock || right.by_clock,
            keyed: true,
            ..from
        };
        (body, node)
    }

    fn lookup(&mut self, from: Node) -> (String, Node) {
        let table = self.any();
        if table.open || table.by_clock {
            return self.dedup(from);
        }
        let name = format!("t{}", self.tables);
        self.tables += 1;
        self.text += &format!("[table.{name}]\nfrom = \"{}\"\n", table.name);
        let kind = self.random.of(&["inner", "left"]);
        let mut body = format!("lookup = \"{name}\"\njoin = \"{kind}\"\n");
        if !from.by_clock && self.random.one_in(2) {
            body += &format!("as-of = {}\n", self.duration());
        }
        if self.random.one_in(4) && !table.stateful {
            body += "on = \"/k\"\n";
        }
        let node = Node {
            stateful: true,
            keyed: false,
            ..from
        };
        (body, node)
    }

    fn dedup(&mut self, from: Node) -> (String, Node) {
        if from.open || from.by_clock {
            return self.stateless(from);
        }
        let body = format!("dedup = {{ within = {} }}\n", self.duration());
        let node = Node {
            stateful: true,
            keyed: true,
            ..from
        };
        (body, node)
    }

    fn process(&mut self, from: Node) -> (String, Node) {
        if from.open || from.by_clock {
            return self.stateless(from);
        }
        let body = "process = \"visits.track\"\nttl = \"1h\"\nconfig = { nudge-after = 0 }\n";
        let node = Node {
            stateful: true,
            keyed: false,
            ..from
        };
        (body.to_owned(), node)
    }

    /// The job, with a sink for each node.
    fn finish(self) -> String {
        let mut job = format!("name = \"free\"\non-error = \"skip\"\n{}", self.text);
        if job.contains("visits.") {
            let plugin = wasmill_tests::root().join("target/plugins/visits.wasm");
            job += &format!("[plugin.visits]\npath = \"{}\"\n", plugin.display());
        }
        for (number, node) in self.nodes.iter().enumerate() {
            job += &format!(
                "[sink.out{number}]\nfrom = \"{}\"\ntype = \"console\"\nformat = \"json\"\n",
                node.name
            );
        }
        job
    }
}

/// A script, and the same without restarts.
fn script(random: &mut Random, sources: &[&str], clock: bool) -> (Vec<String>, Vec<String>) {
    let mut both = Vec::new();
    let partitions = random.between(1, 3);
    if random.one_in(2) {
        for source in sources {
            both.push(format!(
                "{{\"source\":\"{source}\",\"partitions\":{partitions}}}"
            ));
        }
    }
    let (mut time, mut now) = (if random.one_in(6) { -5_000 } else { 1_000 }, 0);
    let (mut script, mut straight) = (both.clone(), both);
    for _ in 0..random.between(5, 70) {
        let source = random.of(sources);
        let partition = random.between(0, partitions - 1);
        let at = format!("\"source\":\"{source}\",\"partition\":{partition}");
        let line = match random.between(0, 19) {
            0..=2 => "{\"flush\":true}".to_owned(),
            3 if random.one_in(2) => format!("{{{at},\"idle\":true}}"),
            4 => format!("{{{at},\"watermark\":{}}}", time - random.between(0, 4_000)),
            5 if clock => {
                now += random.of(&[1, 500, 1_000, 7_000]);
                format!("{{\"now\":{now}}}")
            }
            6 if random.one_in(2) => {
                let restart = random.of(&[
                    "{\"restart\":true}",
                    "{\"restart\":{\"parallelism\":1}}",
                    "{\"restart\":{\"parallelism\":3}}",
                    "{\"checkpoint\":true}",
                    "{\"checkpoint\":true}",
                ]);
                script.push(restart.to_owned());
                straight.push("{\"flush\":true}".to_owned());
                continue;
            }
            _ => record(random, &at, &mut time),
        };
        script.push(line.clone());
        straight.push(line);
    }
    if !random.one_in(10) {
        script.push("{\"end\":true}".to_owned());
        straight.push("{\"end\":true}".to_owned());
    }
    (script, straight)
}

fn record(random: &mut Random, at: &str, time: &mut i64) -> String {
    *time += random.of(&[0, 1, 100, 500, 1_000, 4_000]);
    let back = if random.one_in(2) {
        0
    } else {
        random.between(0, 8_000)
    };
    let ts = match random.one_in(2) {
        true => (*time - back).div_euclid(1_000) * 1_000,
        false => *time - back,
    };
    let key = match random.between(0, 11) {
        0 => String::new(),
        1 => "\"key\":null,".to_owned(),
        _ => format!("\"key\":\"{}\",", random.of(&["a", "b", "c", "d", "é"])),
    };
    let (n, k) = (random.between(1, 9), random.of(&["a", "b", "c"]));
    let action = random.of(&["view", "view", "add", "buy", "leave"]);
    let value = match random.between(0, 11) {
        0 => "null".to_owned(),
        1 => n.to_string(),
        _ => {
            format!("{{\"n\":{n},\"k\":\"{k}\",\"t\":{ts},\"action\":\"{action}\",\"cents\":{n}}}")
        }
    };
    let timestamp = if random.one_in(20) {
        String::new()
    } else {
        format!(",\"timestamp\":{ts}")
    };
    format!("{{{at},{key}\"value\":{value}{timestamp}}}")
}
