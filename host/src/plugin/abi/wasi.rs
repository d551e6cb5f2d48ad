//! `wasi = "inert"`: a few stand-ins for WASI 0.2 that language runtimes call when they start, so that they
//! do start; real WASI is not linked anywhere. What stands in knows nothing of the machine: the
//! environment is empty, the clock stands still during a call, random numbers follow from a fixed seed,
//! standard output and error are the guest's log, standard input is at its end. All else that a component
//! imports of WASI (files, sockets, waiting) is a trap, as without the grant.

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, LinkerInstance, Lower, Resource, ResourceType};

use super::types::Level;
use crate::plugin::host::HostState;

type Cx<'a> = StoreContextMut<'a, HostState>;

/// Bytes of random numbers that one import may ask for.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes that the guest is told it may write at once.
const WRITE_BYTES: u64 = 4_096;
/// Where random numbers begin, in every instance: equal input gives equal output.
const SEED: u64 = 0x005e_ed0f_a01b_0d55;

/// Of one instance.
#[derive(Debug)]
pub struct WasiState {
    /// The newest timestamp of the call's records, where the function reads timestamps; else 0.
    pub now_ms: u64,
    random: u64,
    /// A line of standard output or error that has no end yet.
    line: Vec<u8>,
}

impl Default for WasiState {
    fn default() -> WasiState {
        WasiState {
            now_ms: 0,
            random: SEED,
            line: Vec::new(),
        }
    }
}

impl WasiState {
    /// Before each call.
    pub fn start_call(&mut self) {
        self.now_ms = 0;
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        if len > RANDOM_BYTES_MAX {
            return Err(wasmtime::Error::msg(format!(
                "{len} random bytes at once, more than {RANDOM_BYTES_MAX}"
            )));
        }
        let len = len as usize;
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        Ok(bytes)
    }
}

/// `wasi:io/error.error`: never made.
struct IoError;
/// `wasi:io/streams.input-stream`: at its end.
struct InStream;
/// `wasi:io/streams.output-stream`: 1 standard output, 2 standard error.
struct OutStream;
/// `wasi:io/poll.pollable`.
struct Pollable;
/// `wasi:filesystem/types.descriptor`: never made.
struct Descriptor;
/// `wasi:cli/terminal-*`: never made.
struct Terminal;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "a case of WASI's variant")]
    Failed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Puts one resource of WASI into an interface.
type Link = fn(&mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()>;

/// Puts what stands in for an interface (`wasi:cli/environment`, no version) into its place. What is not
/// known here is left for traps.
pub fn link(interface: &str, at: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    // Interfaces export the resources of others that they use, too.
    let uses: &[Link] = match interface {
        "wasi:cli/stdin" => &[|at| resource::<InStream>(at, "input-stream")],
        "wasi:cli/stdout" | "wasi:cli/stderr" => &[|at| resource::<OutStream>(at, "output-stream")],
        "wasi:cli/terminal-stdin" => &[|at| resource::<Terminal>(at, "terminal-input")],
        "wasi:cli/terminal-stdout" | "wasi:cli/terminal-stderr" => {
            &[|at| resource::<Terminal>(at, "terminal-output")]
        }
        "wasi:clocks/monotonic-clock" => &[|at| resource::<Pollable>(at, "pollable")],
        "wasi:filesystem/preopens" => &[|at| resource::<Descriptor>(at, "descriptor")],
        "wasi:filesystem/types" => &[
            |at| resource::<InStream>(at, "input-stream"),
            |at| resource::<OutStream>(at, "output-stream"),
            |at| resource::<IoError>(at, "error"),
        ],
        "wasi:io/streams" => &[
            |at| resource::<IoError>(at, "error"),
            |at| resource::<Pollable>(at, "pollable"),
        ],
        _ => &[],
    };
    for add in uses {
        add(at)?;
    }
    match interface {
        "wasi:cli/environment" => {
            at.func_wrap("get-environment", |_: Cx<'_>, (): ()| {
                Ok((Vec::<(String, String)>::new(),))
            })?;
            at.func_wrap("get-arguments", |_: Cx<'_>, (): ()| {
                Ok((Vec::<String>::new(),))
            })?;
            at.func_wrap("initial-cwd", |_: Cx<'_>, (): ()| Ok((None::<String>,)))
        }
        "wasi:cli/exit" => at.func_wrap("exit", |_: Cx<'_>, (_,): (Result<(), ()>,)| {
            Err::<(), _>(wasmtime::Error::msg("the guest ended itself (wasi exit)"))
        }),
        "wasi:cli/stdin" => at.func_wrap("get-stdin", |_: Cx<'_>, (): ()| {
            Ok((Resource::<InStream>::new_own(0),))
        }),
        "wasi:cli/stdout" => at.func_wrap("get-stdout", |_: Cx<'_>, (): ()| {
            Ok((Resource::<OutStream>::new_own(1),))
        }),
        "wasi:cli/stderr" => at.func_wrap("get-stderr", |_: Cx<'_>, (): ()| {
            Ok((Resource::<OutStream>::new_own(2),))
        }),
        "wasi:cli/terminal-input" => resource::<Terminal>(at, "terminal-input"),
        "wasi:cli/terminal-output" => resource::<Terminal>(at, "terminal-output"),
        "wasi:cli/terminal-stdin" => no_terminal(at, "get-terminal-stdin"),
        "wasi:cli/terminal-stdout" => no_terminal(at, "get-terminal-stdout"),
        "wasi:cli/terminal-stderr" => no_terminal(at, "get-terminal-stderr"),
        "wasi:clocks/wall-clock" => {
            at.func_wrap("now", |cx: Cx<'_>, (): ()| {
                let ms = cx.data().wasi.now_ms;
                Ok((Datetime {
                    seconds: ms / 1_000,
                    nanoseconds: (ms % 1_000) as u32 * 1_000_000,
                },))
            })?;
            at.func_wrap("resolution", |_: Cx<'_>, (): ()| {
                Ok((Datetime {
                    seconds: 0,
                    nanoseconds: 1_000_000,
                },))
            })
        }
        "wasi:clocks/monotonic-clock" => {
            at.func_wrap("now", |cx: Cx<'_>, (): ()| {
                Ok((cx.data().wasi.now_ms.saturating_mul(1_000_000),))
            })?;
            at.func_wrap("resolution", |_: Cx<'_>, (): ()| Ok((1_000_000u64,)))
        }
        "wasi:random/random" => random(at, "get-random-bytes", "get-random-u64"),
        "wasi:random/insecure" => {
            random(at, "get-insecure-random-bytes", "get-insecure-random-u64")
        }
        "wasi:random/insecure-seed" => at.func_wrap("insecure-seed", |_: Cx<'_>, (): ()| {
            Ok(((SEED, SEED.rotate_left(32)),))
        }),
        "wasi:filesystem/types" => resource::<Descriptor>(at, "descriptor"),
        "wasi:filesystem/preopens" => at.func_wrap("get-directories", |_: Cx<'_>, (): ()| {
            Ok((Vec::<(Resource<Descriptor>, String)>::new(),))
        }),
        "wasi:io/error" => resource::<IoError>(at, "error"),
        "wasi:io/poll" => {
            resource::<Pollable>(at, "pollable")?;
            at.func_wrap(
                "[method]pollable.ready",
                |_: Cx<'_>, (_,): (Resource<Pollable>,)| Ok((true,)),
            )
        }
        "wasi:io/streams" => streams(at),
        _ => Ok(()),
    }
}

fn resource<T: 'static>(
    at: &mut LinkerInstance<'_, HostState>,
    name: &str,
) -> wasmtime::Result<()> {
    at.resource(name, ResourceType::host::<T>(), |_, _| Ok(()))
}

fn no_terminal(at: &mut LinkerInstance<'_, HostState>, name: &str) -> wasmtime::Result<()> {
    at.func_wrap(name, |_: Cx<'_>, (): ()| Ok((None::<Resource<Terminal>>,)))
}

fn random(
    at: &mut LinkerInstance<'_, HostState>,
    bytes: &str,
    number: &str,
) -> wasmtime::Result<()> {
    at.func_wrap(bytes, |mut cx: Cx<'_>, (len,): (u64,)| {
        Ok((cx.data_mut().wasi.bytes(len)?,))
    })?;
    at.func_wrap(number, |mut cx: Cx<'_>, (): ()| {
        Ok((cx.data_mut().wasi.next(),))
    })
}

fn streams(at: &mut LinkerInstance<'_, HostState>) -> wasmtime::Result<()> {
    type Done = Result<(), StreamError>;
    resource::<InStream>(at, "input-stream")?;
    resource::<OutStream>(at, "output-stream")?;
    for name in ["read", "blocking-read"] {
        at.func_wrap(
            &format!("[method]input-stream.{name}"),
            |_: Cx<'_>, (_, _): (Resource<InStream>, u64)| {
                Ok((Err::<Vec<u8>, StreamError>(StreamError::Closed),))
            },
        )?;
    }
    at.func_wrap(
        "[method]output-stream.check-write",
        |_: Cx<'_>, (_,): (Resource<OutStream>,)| Ok((Ok::<u64, StreamError>(WRITE_BYTES),)),
    )?;
    for name in ["write", "blocking-write-and-flush"] {
        at.func_wrap(
            &format!("[method]output-stream.{name}"),
            |mut cx: Cx<'_>, (stream, bytes): (Resource<OutStream>, Vec<u8>)| {
                let level = match stream.rep() {
                    2 => Level::Warn,
                    _ => Level::Info,
                };
                write(cx.data_mut(), level, &bytes);
                Ok((Done::Ok(()),))
            },
        )?;
    }
    for name in ["flush", "blocking-flush"] {
        at.func_wrap(
            &format!("[method]output-stream.{name}"),
            |_: Cx<'_>, (_,): (Resource<OutStream>,)| Ok((Done::Ok(()),)),
        )?;
    }
    at.func_wrap(
        "[method]output-stream.subscribe",
        |_: Cx<'_>, (_,): (Resource<OutStream>,)| Ok((Resource::<Pollable>::new_own(0),)),
    )
}

/// Whole lines become lines of the log, under its limits; the rest waits for its end.
fn write(state: &mut HostState, level: Level, bytes: &[u8]) {
    let max = state.limits.log_line_bytes_max;
    for (i, part) in bytes.split(|b| *b == b'\n').enumerate() {
        if i > 0 {
            let line = std::mem::take(&mut state.wasi.line);
            let sink = state.log_sink.clone();
            if level >= state.log_level {
                state.write_log(level, &String::from_utf8_lossy(&line), sink.as_ref());
            }
        }
        let room = max.saturating_sub(state.wasi.line.len());
        state
            .wasi
            .line
            .extend_from_slice(&part[..part.len().min(room)]);
    }
}
