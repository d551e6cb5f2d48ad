//! One partition's records, in batches, straight from its own queue into columns.

use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{BinaryArray, Int64Array};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use rdkafka::bindings as sys;

use super::client::{Client, Fault, millis, text};
use super::headers::HeaderWay;
use super::topics::{self, Topic};
use crate::record::{Blobs, Headers};
use sys::rd_kafka_resp_err_t as Code;

/// Messages taken by one call. Larger ones are slower: they leave the cache before they are copied.
const MESSAGES: usize = 1_000;

/// A partition that is read.
pub struct PartitionQueue {
    topic: Topic,
    name: CString,
    partition: i32,
    queue: *mut sys::rd_kafka_queue_t,
    started: bool,
    headers: HeaderWay,
    messages: Vec<*mut sys::rd_kafka_message_t>,
    /// Payload bytes of a record, on average lately: so many fit into what a caller wants.
    mean_bytes: usize,
}

// SAFETY: queues may be used from any thread; the messages are held during one call only.
unsafe impl Send for PartitionQueue {}

/// Something that is no record.
#[derive(Clone, Debug)]
pub enum Event {
    /// All that is there was read: the next offset to come.
    End(i64),
    /// What is wrong.
    Failed(Code, String),
}

/// Columns under construction.
#[derive(Default)]
pub struct Columns {
    values: Bytes,
    keys: Bytes,
    any_key: bool,
    timestamps: Vec<i64>,
    any_timestamp: bool,
    headers: Option<HeaderColumns>,
    /// Offset of each record.
    pub offsets: Vec<i64>,
}

struct Bytes {
    data: Vec<u8>,
    /// As Arrow has them: 0, then where each ends.
    ends: Vec<i32>,
    nulls: Vec<bool>,
    any_null: bool,
}

struct HeaderColumns {
    first: Vec<u32>,
    names: Blobs,
    values: Blobs,
}

/// A timestamp that is none.
const NO_TIME: i64 = -1;

impl PartitionQueue {
    /// Not started yet. Without `headers`, records come without them.
    pub fn new(
        client: &Arc<Client>,
        topic: &str,
        partition: i32,
        headers: bool,
    ) -> Result<PartitionQueue, Fault> {
        let handle = Topic::new(client, topic)?;
        // SAFETY: a live handle.
        let queue = unsafe { sys::rd_kafka_queue_new(client.rk()) };
        Ok(PartitionQueue {
            topic: handle,
            name: topics::c_name(topic)?,
            partition,
            queue,
            started: false,
            headers: HeaderWay::of(headers),
            messages: Vec::with_capacity(MESSAGES),
            mean_bytes: 100,
        })
    }

    /// Whether `start` was called.
    pub fn started(&self) -> bool {
        self.started
    }

    /// Reads from here on. Called again: from there on, and what is queued is dropped.
    pub fn start(&mut self, offset: i64) -> Result<(), Fault> {
        self.stop();
        // SAFETY: live topic and queue, of one client.
        let failed = unsafe {
            sys::rd_kafka_consume_start_queue(self.topic.rkt(), self.partition, offset, self.queue)
                != 0
        };
        if failed {
            // SAFETY: the error of this thread's last call.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(Fault::of(code, "start to read"));
        }
        self.started = true;
        Ok(())
    }

    fn stop(&mut self) {
        if self.started {
            // SAFETY: live topic, started before. It waits for the client's thread, not for a broker.
            unsafe { sys::rd_kafka_consume_stop(self.topic.rkt(), self.partition) };
            self.started = false;
            // What is queued still is of the time before.
            while self.take(MESSAGES, Duration::ZERO) > 0 {
                self.destroy();
            }
        }
    }

    /// The end of the partition as the last fetch saw it.
    pub fn seen_end(&self) -> Option<i64> {
        topics::seen_end(self.topic.client(), &self.name, self.partition)
    }

    /// Appends records until there are `records` or `bytes` of them, or no more are there; then, or before,
    /// comes what is no record.
    pub fn read(&mut self, records: usize, bytes: usize, into: &mut Columns) -> Option<Event> {
        loop {
            let room = bytes.saturating_sub(into.bytes()) / self.mean_bytes.max(1);
            let want = records.saturating_sub(into.len()).min(room).min(MESSAGES);
            // One record always goes in, however large.
            let want = if into.is_empty() { want.max(1) } else { want };
            if want == 0 {
                return None;
            }
            let got = self.take(want, Duration::ZERO);
            let (before, at) = (into.len(), into.bytes());
            let mut event = None;
            for &message in &self.messages {
                // SAFETY: a live message, read before it is destroyed below. Its fields are null or as long as said.
                unsafe {
                    let m = &*message;
                    match m.err {
                        Code::RD_KAFKA_RESP_ERR_NO_ERROR => into.push(message, self.headers),
                        Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
                            event = Some(Event::End(m.offset))
                        }
                        code => {
                            let why = text(sys::rd_kafka_message_errstr(message));
                            event = Some(Event::Failed(code, why));
                        }
                    }
                }
            }
            self.destroy();
            let added = into.len() - before;
            if let Some(mean) = (into.bytes() - at).checked_div(added) {
                self.mean_bytes = mean + 16;
            }
            if event.is_some() || got < want {
                return event;
            }
        }
    }

    fn take(&mut self, want: usize, wait: Duration) -> usize {
        self.messages.clear();
        // SAFETY: a live queue; room for `want` pointers, of which as many are set as it answers.
        unsafe {
            let got = sys::rd_kafka_consume_batch_queue(
                self.queue,
                millis(wait),
                self.messages.as_mut_ptr(),
                want.min(MESSAGES),
            );
            let got = usize::try_from(got).unwrap_or(0);
            self.messages.set_len(got);
            got
        }
    }

    /// At once: a kept message holds the whole buffer that it was fetched in.
    fn destroy(&mut self) {
        for message in self.messages.drain(..) {
            // SAFETY: taken by us, destroyed once.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: the last use; the client lives, since the topic holds it.
        unsafe { sys::rd_kafka_queue_destroy(self.queue) };
    }
}

impl Columns {
    /// Empty, with room for as many as there were last time.
    pub fn like(records: usize, bytes: usize) -> Columns {
        let mut columns = Columns::default();
        columns.values.data.reserve(bytes);
        columns.values.ends.reserve(records + 1);
        columns.timestamps.reserve(records);
        columns.offsets.reserve(records);
        columns
    }

    /// Records so far.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Bytes of values and keys so far.
    pub fn bytes(&self) -> usize {
        self.values.data.len() + self.keys.data.len()
    }

    /// # Safety
    /// A live message without error.
    #[inline]
    unsafe fn push(&mut self, message: *mut sys::rd_kafka_message_t, headers: HeaderWay) {
        // SAFETY: the caller's promise; payload and key are null, or as long as said.
        unsafe {
            let m = &*message;
            let row = self.offsets.len();
            self.values.push(slice(m.payload.cast(), m.len), row);
            let key = slice(m.key.cast(), m.key_len);
            if key.is_some() && !self.any_key {
                self.any_key = true;
                (0..row).for_each(|i| self.keys.push(None, i));
            }
            if self.any_key {
                self.keys.push(key, row);
            }
            let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
            let time = sys::rd_kafka_message_timestamp(message, &raw mut kind);
            self.any_timestamp |= time != NO_TIME;
            self.timestamps.push(time);
            self.offsets.push(m.offset);
            if headers == HeaderWay::Leave {
                return;
            }
            if let Some(headers) = headers.find(message) {
                self.push_headers(headers, row);
            } else if let Some(all) = &mut self.headers {
                all.first.push(all.names.len() as u32);
            }
        }
    }

    /// # Safety
    /// Live headers of a message.
    unsafe fn push_headers(&mut self, headers: *mut sys::rd_kafka_headers_t, row: usize) {
        let all = self.headers.get_or_insert_with(|| HeaderColumns {
            first: vec![0; row + 1],
            names: Blobs::default(),
            values: Blobs::default(),
        });
        let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
        let mut i = 0;
        // SAFETY: three places to write to; what they point to belongs to the message and lives.
        unsafe {
            while sys::rd_kafka_header_get_all(
                headers,
                i,
                &raw mut name,
                &raw mut value,
                &raw mut size,
            ) == Code::RD_KAFKA_RESP_ERR_NO_ERROR
            {
                all.names.push(std::ffi::CStr::from_ptr(name).to_bytes());
                all.values
                    .push(slice(value.cast(), size).unwrap_or_default());
                i += 1;
            }
        }
        all.first.push(all.names.len() as u32);
    }

    /// Drops what stands at this offset or behind it.
    pub fn cut_at(&mut self, end: i64) {
        let len = self.offsets.partition_point(|o| *o < end);
        if len == self.offsets.len() {
            return;
        }
        self.offsets.truncate(len);
        self.values.truncate(len);
        if self.any_key {
            self.keys.truncate(len);
        }
        self.timestamps.truncate(len);
        if let Some(headers) = &mut self.headers {
            headers.first.truncate(len + 1);
        }
    }

    /// As arrays: values, keys, timestamps, headers.
    pub fn finish(
        self,
    ) -> (
        BinaryArray,
        Option<BinaryArray>,
        Option<Int64Array>,
        Option<Arc<Headers>>,
    ) {
        let keys = self.any_key.then(|| self.keys.finish());
        let timestamps = self.any_timestamp.then(|| {
            if self.timestamps.contains(&NO_TIME) {
                self.timestamps
                    .into_iter()
                    .map(|t| (t != NO_TIME).then_some(t))
                    .collect()
            } else {
                Int64Array::from(self.timestamps)
            }
        });
        let headers = self.headers.map(|h| {
            Arc::new(Headers {
                first: h.first,
                names: h.names,
                values: h.values,
            })
        });
        (self.values.finish(), keys, timestamps, headers)
    }
}

/// # Safety
/// Null, or so many bytes.
#[inline]
unsafe fn slice<'a>(at: *const u8, len: usize) -> Option<&'a [u8]> {
    // SAFETY: the caller's promise.
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at, len) })
}

impl Default for Bytes {
    fn default() -> Bytes {
        Bytes {
            data: Vec::new(),
            ends: vec![0],
            nulls: Vec::new(),
            any_null: false,
        }
    }
}

impl Bytes {
    #[inline]
    fn push(&mut self, bytes: Option<&[u8]>, row: usize) {
        match bytes {
            Some(bytes) => self.data.extend_from_slice(bytes),
            None if !self.any_null => {
                self.any_null = true;
                self.nulls = vec![true; row];
            }
            None => {}
        }
        if self.any_null {
            self.nulls.push(bytes.is_some());
        }
        self.ends
            .push(i32::try_from(self.data.len()).expect("a batch is bounded far below 2 GiB"));
    }

    fn truncate(&mut self, len: usize) {
        self.ends.truncate(len + 1);
        self.data.truncate(self.ends[len] as usize);
        self.nulls.truncate(len);
    }

    fn finish(self) -> BinaryArray {
        let nulls = self.any_null.then(|| NullBuffer::from(self.nulls));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        BinaryArray::new(offsets, Buffer::from_vec(self.data), nulls)
    }
}
