//! A librdkafka handle: made from settings, ended when dropped, its errors as values.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings as sys;

use sys::rd_kafka_resp_err_t as Code;

/// What a handle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reads, and asks about topics and groups.
    Consumer,
    /// Writes.
    Producer,
}

/// An error of librdkafka.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Which.
    pub code: Code,
    /// In words, with what was done.
    pub message: String,
    /// The handle is of no use any more.
    pub fatal: bool,
    /// The same call may be made again.
    pub retriable: bool,
    /// The transaction must be aborted.
    pub must_abort: bool,
}

impl Fault {
    /// Of a bare code.
    pub fn of(code: Code, what: &str) -> Fault {
        // SAFETY: answers a static string for any code.
        let text = unsafe { text(sys::rd_kafka_err2str(code)) };
        Fault {
            code,
            message: format!("{what}: {text}"),
            fatal: false,
            retriable: false,
            must_abort: false,
        }
    }

    /// Takes over an error object; none: all is well.
    pub(super) fn take(error: *mut sys::rd_kafka_error_t, what: &str) -> Result<(), Fault> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: a live error object, read and then destroyed once.
        unsafe {
            let fault = Fault {
                code: sys::rd_kafka_error_code(error),
                message: format!("{what}: {}", text(sys::rd_kafka_error_string(error))),
                fatal: sys::rd_kafka_error_is_fatal(error) != 0,
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                must_abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Err(fault)
        }
    }

    /// Another producer of the same transactional id took over, or this one was away for too long: the error
    /// cannot tell which.
    pub fn is_fenced(&self) -> bool {
        matches!(
            self.code,
            Code::RD_KAFKA_RESP_ERR__FENCED
                | Code::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH
                | Code::RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        )
    }
}

/// Whether an error comes again however often the same is tried: nobody but a person can do something about it.
pub fn comes_again(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            | Code::RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE
            | Code::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT
            | Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE
            | Code::RD_KAFKA_RESP_ERR_INVALID_MSG
            | Code::RD_KAFKA_RESP_ERR_INVALID_RECORD
            | Code::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
            | Code::RD_KAFKA_RESP_ERR_INVALID_CONFIG
            | Code::RD_KAFKA_RESP_ERR_POLICY_VIOLATION
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC
            | Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
    )
}

/// What the handle's callbacks noted.
#[derive(Debug, Default)]
pub struct Noted {
    /// Records that were not delivered.
    pub failed: AtomicU64,
    /// The first reason for that, and whether it would come again however often the record is sent.
    pub first_failure: Mutex<Option<(String, bool)>>,
    /// The last error that is no single record's.
    last_error: Mutex<Option<String>>,
    /// A broker did not let us in.
    denied: AtomicBool,
    /// An error that ended the handle.
    fatal: Mutex<Option<String>>,
}

/// A handle. Shared between threads: librdkafka locks for itself.
pub struct Client {
    rk: *mut sys::rd_kafka_t,
    noted: Arc<Noted>,
}

// SAFETY: librdkafka's handles may be used from any thread, several at once.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// A handle with these settings, the later ones winning. Nothing is connected yet.
    pub fn new<'a>(
        kind: Kind,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Client, String> {
        let noted = Arc::new(Noted::default());
        // SAFETY: the configuration is ours until rd_kafka_new succeeds, which takes it; strings outlive their
        // calls; the opaque pointer is kept alive by `noted` until after the handle's end.
        unsafe {
            let conf = sys::rd_kafka_conf_new();
            let mut why = [0 as c_char; 512];
            for (name, value) in settings {
                let (Ok(n), Ok(v)) = (CString::new(name), CString::new(value)) else {
                    sys::rd_kafka_conf_destroy(conf);
                    return Err(format!("{name:?}: a setting holds no NUL"));
                };
                let set = sys::rd_kafka_conf_set(
                    conf,
                    n.as_ptr(),
                    v.as_ptr(),
                    why.as_mut_ptr(),
                    why.len(),
                );
                if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    sys::rd_kafka_conf_destroy(conf);
                    return Err(text(why.as_ptr()));
                }
            }
            sys::rd_kafka_conf_set_opaque(conf, Arc::as_ptr(&noted).cast_mut().cast());
            sys::rd_kafka_conf_set_error_cb(conf, Some(on_error));
            sys::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            let of = match kind {
                Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
                Kind::Producer => {
                    sys::rd_kafka_conf_set_dr_msg_cb(conf, Some(on_delivery));
                    sys::rd_kafka_type_t::RD_KAFKA_PRODUCER
                }
            };
            let rk = sys::rd_kafka_new(of, conf, why.as_mut_ptr(), why.len());
            if rk.is_null() {
                sys::rd_kafka_conf_destroy(conf);
                return Err(text(why.as_ptr()));
            }
            Ok(Client { rk, noted })
        }
    }

    pub(super) fn rk(&self) -> *mut sys::rd_kafka_t {
        self.rk
    }

    /// What a setting is, as librdkafka has it now.
    pub fn setting(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut value = [0 as c_char; 512];
        let mut len = value.len();
        // SAFETY: a live handle, whose settings live as long; `len` is the room in `value`, and what is written there
        // ends with a zero.
        unsafe {
            let conf = sys::rd_kafka_conf(self.rk);
            let got = sys::rd_kafka_conf_get(conf, key.as_ptr(), value.as_mut_ptr(), &mut len);
            (got == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK && len <= value.len())
                .then(|| text(value.as_ptr()))
        }
    }

    /// Serves callbacks: delivery reports, errors. Returns after the first, or when the time is over.
    pub fn poll(&self, wait: Duration) {
        // SAFETY: a live handle.
        unsafe { sys::rd_kafka_poll(self.rk, millis(wait)) };
    }

    /// What callbacks noted.
    pub fn noted(&self) -> &Noted {
        &self.noted
    }

    /// The last error that was no single record's: what to say when something waits for too long.
    pub fn last_error(&self) -> Option<String> {
        self.noted.last_error.lock().clone()
    }

    /// Whether a broker refused name, password or certificate: waiting seldom helps.
    pub fn is_denied(&self) -> bool {
        self.noted.denied.load(Ordering::Acquire)
    }

    /// Why the handle is of no use any more, if so.
    pub fn fatal(&self) -> Option<String> {
        self.noted.fatal.lock().clone()
    }

    /// "what: the last thing that went wrong", for messages.
    pub fn explain(&self, what: impl std::fmt::Display) -> String {
        match self.last_error() {
            Some(last) => format!("{what} ({last})"),
            None => what.to_string(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the last use; everything made from the handle holds an Arc of it, so it is gone. Callbacks may
        // run in here, and `noted` still lives.
        unsafe {
            sys::rd_kafka_destroy_flags(self.rk, sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// Milliseconds, as librdkafka takes them.
pub(super) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX)
}

/// A C string of librdkafka, copied.
///
/// # Safety
/// Null, or a string with its NUL.
pub(super) unsafe fn text(at: *const c_char) -> String {
    if at.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(at) }.to_string_lossy().into_owned()
}

unsafe extern "C" fn on_error(
    rk: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    noted: *mut c_void,
) {
    // SAFETY: called by the handle while it lives, with our opaque pointer and a string.
    unsafe {
        let noted = &*noted.cast::<Noted>();
        if code == Code::RD_KAFKA_RESP_ERR__FATAL as c_int {
            let mut why = [0 as c_char; 512];
            sys::rd_kafka_fatal_error(rk, why.as_mut_ptr(), why.len());
            *noted.fatal.lock() = Some(text(why.as_ptr()));
        } else {
            if code == Code::RD_KAFKA_RESP_ERR__AUTHENTICATION as c_int
                || code == Code::RD_KAFKA_RESP_ERR__SSL as c_int
            {
                noted.denied.store(true, Ordering::Release);
            }
            // That no broker is there follows from what was said before, and says less.
            let says_little = code == Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
            let mut last = noted.last_error.lock();
            if last.is_none() || !says_little {
                *last = Some(text(reason));
            }
        }
    }
}

unsafe extern "C" fn on_log(
    _rk: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    line: *const c_char,
) {
    // SAFETY: two strings that live for the call.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    if level <= 4 {
        tracing::warn!(target: "wasmill::kafka", "{facility}: {line}");
    } else {
        tracing::debug!(target: "wasmill::kafka", "{facility}: {line}");
    }
}

/// Only failures come here (`delivery.report.only.error`).
unsafe extern "C" fn on_delivery(
    _rk: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    noted: *mut c_void,
) {
    // SAFETY: called in `poll` with a live message and our opaque pointer.
    unsafe {
        let noted = &*noted.cast::<Noted>();
        if (*message).err == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return;
        }
        if noted.failed.fetch_add(1, Ordering::AcqRel) == 0 {
            let topic = text(sys::rd_kafka_topic_name((*message).rkt));
            let code = (*message).err;
            let mut why = text(sys::rd_kafka_err2str(code));
            if code == Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE {
                let bytes = (*message).len + (*message).key_len;
                why = format!("{why} ({bytes} bytes)");
            }
            *noted.first_failure.lock() =
                Some((format!("topic {topic}: {why}"), comes_again(code)));
        }
    }
}
