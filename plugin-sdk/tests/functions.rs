//! What the attributes and derives make, driven natively.
//! (The crate's documentation shows each kind of function; here are the edges.)

use wasmill_plugin::contract::{Columns, Kind, OnBad, Traits};
use wasmill_plugin::testing::{Record, open, record, try_open};
use wasmill_plugin::{
    Context, Counter, Emit, Export, Fields, Json, Output, RawRecord, Reject, Same, Schema, State,
    Timer, aggregate, config, filter, join, process, reject, state, transform, warn,
};

#[derive(Fields)]
struct Everything<'a> {
    text: &'a str,
    int: i64,
    float: f64,
    flag: bool,
    json: Json<'a>,
    maybe: Option<&'a str>,
    #[field(name = "a/b", missing = "fail", mismatch = "null")]
    odd: Option<i64>,
    #[field(pointer = "/deep/er")]
    deep: Option<Json<'a>>,
    #[field(key)]
    key: &'a str,
    #[field(timestamp)]
    time: i64,
}

#[transform]
fn show(e: Everything<'_>, out: &mut Output) {
    let text = format!(
        "{} {} {} {} {} {:?} {:?} {:?} {} {}",
        e.text, e.int, e.float, e.flag, e.json.0, e.maybe, e.odd, e.deep, e.key, e.time
    );
    out.emit(text.as_bytes());
}

const GOOD: &str =
    r#"{"text":"t\n","int":-1,"float":2,"flag":true,"json":[1, 2],"a/b":"x","deep":{"er":{}}}"#;

#[test]
fn reads_each_type_of_field() {
    let ran = open::<show>("{}").run(&[record(GOOD).key("k").at(5)]);
    assert_eq!(ran.rejected, []);
    assert_eq!(
        ran.values(),
        ["t\n -1 2 true [1, 2] None None Some(Json(\"{}\")) k 5"]
    );
}

#[test]
fn says_what_it_reads() {
    let opened = open::<show>("{}");
    let d = opened.descriptor();
    assert!(d.needs == Columns::KEYS | Columns::TIMESTAMPS);
    let fields: Vec<_> = d
        .fields
        .iter()
        .map(|f| (f.pointer.as_str(), f.kind, f.missing, f.mismatch))
        .collect();
    assert_eq!(
        fields[0],
        ("/text", Kind::Text, OnBad::Reject, OnBad::Reject)
    );
    assert_eq!(fields[5], ("/maybe", Kind::Text, OnBad::Null, OnBad::Null));
    assert_eq!(fields[6], ("/a~1b", Kind::Ints, OnBad::Fail, OnBad::Null));
    assert_eq!(
        fields[7],
        ("/deep/er", Kind::Json, OnBad::Null, OnBad::Null)
    );
}

#[test]
fn null_rejects_where_the_type_has_none() {
    let nulls = GOOD.replace("-1", "null");
    let no_key = record(GOOD).at(5);
    let no_time = record(GOOD).key("k");
    let bad_key = record(GOOD).key([0xff]).at(5);
    let ran = open::<show>("{}").run(&[record(nulls).key("k").at(5), no_key, no_time, bad_key]);
    let reasons: Vec<_> = ran.rejected.iter().map(|r| r.1.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "/int is null",
            "key is null",
            "timestamp is missing",
            "key is not UTF-8"
        ]
    );
}

#[transform(ports("big", "gone"), sets_keys, sets_timestamps)]
fn route(r: RawRecord<'_>, out: &mut Output) -> Result<(), Reject> {
    let Some(value) = r.value else {
        out.delete().to_port("gone");
        return Ok(());
    };
    match std::str::from_utf8(value)? {
        "twice" => {
            out.emit(b"1").with_key("one");
            out.emit(b"2").with_key(&format!("{}", 2)).with_timestamp(9);
            out.pass();
        }
        "none" => drop(out.emit(b"n").without_key()),
        "header" => drop(out.emit(r.headers.get("h").unwrap_or(b"?"))),
        "late failure" => {
            out.emit(b"never seen");
            return Err(reject("changed my mind"));
        }
        text if text.len() > 20 => drop(out.pass().to_port("big")),
        _ => drop(out.pass()),
    }
    Ok(())
}

#[test]
fn puts_out_in_order_whatever_each_record_sets() {
    let long = "long enough to be big, that is";
    let records = [
        record("a").key("k").at(1),
        record("twice").key("k").at(2),
        record("none").key("k"),
        record(long),
        record("header").header("g", "0").header("h", "1"),
        Record::default(),
        record("late failure"),
        record([0xff]),
    ];
    let ran = open::<route>("{}").run(&records);
    let shown: Vec<String> = ran
        .outputs
        .iter()
        .map(|o| {
            let text = |s: &Option<String>| s.clone().unwrap_or("-".into());
            format!(
                "{} {} {} {:?} {}",
                text(&o.port),
                text(&o.key),
                text(&o.value),
                o.timestamp,
                o.source
            )
        })
        .collect();
    let main: Vec<_> = shown.iter().filter(|s| s.starts_with("- ")).collect();
    assert_eq!(
        main,
        [
            "- k a Some(1) 0",
            "- one 1 Some(2) 1",
            "- 2 2 Some(9) 1",
            "- k twice Some(2) 1",
            "- - n None 2",
            "- - 1 None 4"
        ]
    );
    assert_eq!(ran.port("big"), [long]);
    let gone: Vec<_> = ran
        .outputs
        .iter()
        .filter(|o| o.port.as_deref() == Some("gone"))
        .collect();
    assert_eq!((gone.len(), gone[0].source, &gone[0].value), (1, 5, &None));
    assert_eq!(ran.rejected[0], (6, "changed my mind".into()));
    assert_eq!(ran.rejected[1].0, 7);
}

#[test]
fn buffers_serve_the_next_call_empty() {
    let mut route = open::<route>("{}");
    for n in [3, 1, 2] {
        let ran = route.run(&vec![record("twice"); n]);
        assert_eq!(ran.outputs.len(), 3 * n);
    }
}

#[transform]
fn undeclared(_: RawRecord<'_>, out: &mut Output) {
    out.pass().with_key("k");
}

#[test]
#[should_panic(expected = "sets_keys")]
fn a_key_must_be_declared() {
    open::<undeclared>("{}").run(&[record("")]);
}

#[derive(Fields)]
struct Pair<'a> {
    a: &'a str,
    n: Option<i64>,
    x: Json<'a>,
}

#[derive(Emit)]
struct Made<'a> {
    #[emit(from = "/x")]
    y: Same,
    n: Option<i64>,
    text: Option<&'a str>,
    owned: String,
    half: f64,
    even: bool,
    raw: Json<'a>,
}

#[transform(name = "make")]
fn make_it(p: Pair<'_>) -> Result<Option<Made<'_>>, Reject> {
    if p.a == "drop" {
        return Ok(None);
    }
    let n =
        p.n.ok_or_else(|| reject("no n"))
            .or_else(|e| if p.a == "null" { Ok(0) } else { Err(e) })?;
    Ok(Some(Made {
        y: Same,
        n: p.n,
        text: (p.a != "null").then_some(p.a),
        owned: format!("\"{}\"", p.a),
        half: n as f64 / 2.0,
        even: n % 2 == 0,
        raw: p.x,
    }))
}

#[test]
fn writes_each_type_of_member_and_hands_fields_on() {
    assert_eq!(make_it::FUNCTION.name, "make");
    let ran = open::<make_it>("{}").run(&[
        record(r#"{"a":"s","n":3,"x":{"z": 1}}"#),
        record(r#"{"a":"drop","n":3,"x":1}"#),
        record(r#"{"a":"null","x":[]}"#),
        record(r#"{"a":"err","x":0}"#),
    ]);
    assert_eq!(
        ran.values(),
        [
            r#"{"y":{"z": 1},"n":3,"text":"s","owned":"\"s\"","half":1.5,"even":false,"raw":{"z": 1}}"#,
            r#"{"y":[],"n":null,"text":null,"owned":"\"null\"","half":0.0,"even":true,"raw":[]}"#
        ]
    );
    assert_eq!(ran.rejected, [(3, "no n".into())]);
}

#[derive(Emit)]
struct Unread {
    nowhere: Same,
}

#[transform]
fn unread(_: Pair<'_>) -> Unread {
    Unread { nowhere: Same }
}

#[test]
fn a_field_that_is_not_read_cannot_be_handed_on() {
    assert!(try_open::<unread>("{}").is_err_and(|e| e.contains("/nowhere")));
}

/// A mode.
#[config]
#[derive(Debug, PartialEq)]
enum Mode {
    FastOne,
    Slow,
}

/// Settings of all kinds.
#[config]
#[derive(Debug, PartialEq)]
struct Settings {
    /// How many
    max_count: u8,
    mode: Option<Mode>,
    #[serde(default)]
    names: Vec<String>,
}

#[filter]
fn configured(_: RawRecord<'_>, settings: &Settings) -> Result<bool, Reject> {
    Ok(settings.mode != Some(Mode::Slow))
}

#[test]
fn a_config_has_a_schema_and_exact_errors() {
    let schema: wasmill_plugin::serde_json::Value =
        wasmill_plugin::serde_json::from_str(&Settings::schema()).expect("a schema is JSON");
    let expected: wasmill_plugin::serde_json::Value = wasmill_plugin::serde_json::from_str(
        r#"{"type":"object","description":"Settings of all kinds.","properties":{
            "max-count":{"description":"How many","type":"integer","minimum":0,"maximum":255},
            "mode":{"enum":["fast-one","slow"]},
            "names":{"type":"array","items":{"type":"string"}}},
            "required":["max-count"],"additionalProperties":false}"#,
    )
    .expect("the expectation is JSON");
    assert_eq!(schema, expected);
    assert_eq!((configured::FUNCTION.schema)(), Settings::schema());
    let refused = |config: &str| try_open::<configured>(config).err().unwrap_or_default();
    assert!(refused("{}").contains("max-count"));
    assert!(refused(r#"{"max-count":256}"#).contains("256"));
    assert!(refused(r#"{"max-count":1,"mode":"quick"}"#).contains("fast-one"));
    assert!(refused(r#"{"max-count":1,"more":1}"#).contains("more"));
    let kept = open::<configured>(r#"{"max-count":1,"mode":"slow"}"#).run(&[record("x")]);
    assert!(kept.outputs.is_empty());
}

#[derive(Fields)]
struct Click<'a> {
    page: &'a str,
    gap: Option<i64>,
}

#[derive(Debug, PartialEq, State)]
struct Path {
    limit: i64,
    pages: Vec<String>,
}

#[config]
struct Limit {
    limit: i64,
}

static CLICKS: Counter = Counter::new("clicks");

/// Pages of a session, in order.
///
/// (This is not in the one line.)
#[aggregate(order_dependent, version = 2)]
impl Path {
    fn init(config: &Limit) -> Path {
        Path {
            limit: config.limit,
            pages: Vec::new(),
        }
    }

    fn add(&mut self, click: Click<'_>) -> Result<(), Reject> {
        if click.page.is_empty() {
            return Err(reject("no page"));
        }
        CLICKS.add(1.0);
        if self.pages.len() as i64 == self.limit {
            warn!("more than {} pages", self.limit);
        } else {
            self.pages.push(click.page.into());
        }
        Ok(())
    }

    fn merge(&mut self, later: &Path) {
        self.pages.extend_from_slice(&later.pages);
    }

    fn gap(click: Click<'_>, _config: &Limit) -> i64 {
        click.gap.unwrap_or(1_000)
    }

    fn finish(self, out: &mut Output) -> Result<(), Reject> {
        if self.pages.is_empty() {
            return Err(reject("nothing"));
        }
        for page in &self.pages {
            out.emit(page.as_bytes());
        }
        Ok(())
    }

    fn migrate(from_version: u32, bytes: &[u8]) -> Result<Path, Reject> {
        if from_version != 1 {
            return Err(reject("too old"));
        }
        let pages = state::from_bytes(bytes).ok_or_else(|| reject("damaged"))?;
        Ok(Path { limit: 9, pages })
    }
}

fn click(page: &str) -> Record {
    record(format!(r#"{{"page":"{page}","gap":7}}"#))
}

#[test]
fn an_aggregate_has_all_its_parts() {
    assert_eq!(
        (Path::FUNCTION.name, Path::FUNCTION.doc),
        ("path", "Pages of a session, in order.")
    );
    let mut path = open::<Path>(r#"{"limit":2}"#);
    let d = path.descriptor();
    assert!(d.traits == Traits::MERGEABLE | Traits::ORDER_DEPENDENT);
    assert_eq!(d.state_version, 2);
    let ran = path.aggregate(&[click("a"), click(""), click("b"), click("c")]);
    assert_eq!(ran.values(), ["a", "b"]);
    assert_eq!(ran.rejected, [(1, "no page".into())]);
    assert_eq!(
        path.gaps(&[click("a"), record(r#"{"page":"b"}"#)])
            .expect("it gives gaps"),
        [7, 1_000]
    );
    let (left, _) = path.accumulate(&[click("a")]);
    let (right, _) = path.accumulate(&[click("b")]);
    let merged = path.merge(&left, &right).expect("it merges");
    assert_eq!(path.finish(&merged).values(), ["a", "b"]);
    assert_eq!(path.aggregate(&[]).rejected, [(0, "nothing".into())]);
    let old = state::to_bytes(&vec!["z".to_string()]);
    let new = path.migrate(1, &old).expect("version 1 is known");
    assert_eq!(path.finish(&new).values(), ["z"]);
    assert!(path.migrate(0, &old).is_err());
}

#[test]
fn a_damaged_accumulator_fails_the_call() {
    let mut path = open::<Path>(r#"{"limit":2}"#);
    assert!(path.merge(b"", b"").is_err());
}

/// No `merge`, no extras.
#[derive(Default, State)]
struct Plain {
    n: u32,
}

#[aggregate(name = "plain-count")]
impl Plain {
    fn add(&mut self, _: RawRecord<'_>) {
        self.n += 1;
    }

    fn finish(&self, out: &mut Output) {
        out.emit(self.n.to_string().as_bytes());
    }
}

#[test]
fn an_aggregate_without_merge_says_so() {
    let mut plain = open::<Plain>("{}");
    assert!(plain.descriptor().traits == Traits::empty());
    assert_eq!(plain.aggregate(&[record("a"), record("b")]).values(), ["2"]);
    assert!(plain.merge(&[0; 4], &[0; 4]).is_err());
    assert!(plain.gaps(&[record("a")]).is_err());
    assert!(plain.gaps(&[]).is_err(), "found out without records");
    assert!(plain.migrate(0, &[0; 4]).is_err());
}

#[join(name = "both")]
fn needs_both(left: Click<'_>, right: RawRecord<'_>, out: &mut Output) {
    out.emit(
        format!(
            "{}+{}",
            left.page,
            String::from_utf8_lossy(right.value.unwrap_or(b"null"))
        )
        .as_bytes(),
    );
}

#[test]
fn a_join_that_needs_both_sides_rejects_other_pairs() {
    let (left, right) = ([click("a"), record("{}")], [record("r"), Record::default()]);
    let pairs = [
        (Some(0), Some(0)),
        (Some(0), None),
        (Some(1), Some(0)),
        (Some(0), Some(1)),
    ];
    let ran = open::<needs_both>("{}").join(&left, &right, &pairs);
    assert_eq!(ran.values(), ["a+r", "a+null"]);
    assert_eq!(ran.outputs[1].source, 3);
    assert_eq!(ran.rejected.iter().map(|r| r.0).collect::<Vec<_>>(), [1, 2]);
    assert!(ran.rejected[0].1.contains("one side"));
}

#[derive(Default, State)]
struct Seen {
    n: i64,
}

#[process(ports("alarm"))]
impl Seen {
    fn on_record(
        &mut self,
        r: RawRecord<'_>,
        key: &mut Context<'_>,
        out: &mut Output,
    ) -> Result<(), Reject> {
        match r.value.unwrap_or_default() {
            b"bad" => {
                self.n = -1;
                key.set_timer(1);
                return Err(reject("bad"));
            }
            b"forget" => key.clear_state(),
            _ => {
                self.n += 1;
                key.set_timer(r.timestamp.unwrap_or(0) + 10);
                key.set_processing_timer(100);
            }
        }
        out.emit(self.n.to_string().as_bytes());
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, key: &mut Context<'_>, out: &mut Output) {
        if self.n > 0 {
            let text = format!(
                "{:?} {} {}",
                timer.domain,
                timer.time,
                String::from_utf8_lossy(key.key())
            );
            out.emit(text.as_bytes()).to_port("alarm");
        }
    }
}

#[test]
fn a_rejected_record_changes_neither_state_nor_timers() {
    let mut seen = open::<Seen>("{}").keyed();
    assert_eq!(seen.record(&record("x").key("k").at(5)).values(), ["1"]);
    let ran = seen.record(&record("bad").key("k").at(6));
    assert_eq!(ran.rejected, [(0, "bad".into())]);
    assert_eq!(seen.timers().len(), 2);
    assert_eq!(seen.record(&record("x").key("k").at(5)).values(), ["2"]);
    assert_eq!(seen.watermark(15).port("alarm"), ["TimeDomain::Event 15 k"]);
    seen.record(&record("forget").key("k"));
    assert!(seen.keys().is_empty());
    assert_eq!(seen.processing_time(100).port("alarm"), [""; 0]);
    assert!(
        seen.keys().is_empty(),
        "a timer that found no state and changed nothing leaves none"
    );
}

#[test]
fn metrics_are_summed_and_logs_recorded() {
    let mut path = open::<Path>(r#"{"limit":0}"#);
    let ran = path.aggregate(&[click("a")]);
    assert!(ran.logs.is_empty(), "those of finish: add is another call");
    #[filter]
    fn counting(_: RawRecord<'_>) -> bool {
        CLICKS.add(2.0);
        warn!("a {}", "warning");
        true
    }
    let ran = open::<counting>("{}").run(&[record("a"), record("b")]);
    assert_eq!(ran.metrics, [("clicks".to_string(), 4.0)]);
    assert_eq!(ran.logs.len(), 2);
    assert_eq!(ran.logs[0].1, "a warning");
}

#[derive(Debug, PartialEq, State)]
enum Layout {
    Empty,
    Tuple(u8, bool),
    Named { a: Option<f64>, s: String },
}

#[test]
fn the_layout_of_states_is_fixed() {
    // Checkpoints hold these bytes: they must never change.
    let named = Layout::Named {
        a: Some(1.0),
        s: "é".into(),
    };
    for (value, bytes) in [
        (Layout::Empty, vec![0u8]),
        (Layout::Tuple(7, true), vec![1, 7, 1]),
        (
            named,
            [
                &[2, 1][..],
                &1.0f64.to_le_bytes(),
                &[2, 0, 0, 0],
                "é".as_bytes(),
            ]
            .concat(),
        ),
    ] {
        assert_eq!(state::to_bytes(&value), bytes);
        assert_eq!(state::from_bytes(&bytes), Some(value));
        assert_eq!(state::from_bytes::<Layout>(&bytes[..bytes.len() - 1]), None);
        assert_eq!(
            state::from_bytes::<Layout>(&[&bytes[..], &[0]].concat()),
            None
        );
    }
    assert_eq!(state::from_bytes::<Layout>(&[3]), None);
    assert_eq!(
        state::to_bytes(&(1i64, -2i64)),
        [1i64.to_le_bytes(), (-2i64).to_le_bytes()].concat()
    );
    assert_eq!(
        state::from_bytes::<Vec<u64>>(&[255, 255, 255, 255]),
        None,
        "a false length allocates nothing"
    );
}
