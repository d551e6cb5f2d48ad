//! Lists of offsets, and what is done with them: committed, asked for, found by time.

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::{Client, Fault, millis, text};
use super::topics::c_name;
use sys::rd_kafka_resp_err_t as Code;

/// An offset of a partition, with words beside it that the group keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// The next record to read; negative: none is known.
    pub offset: i64,
    /// At most 4,096 bytes, no NUL; empty: none.
    pub metadata: String,
}

/// librdkafka's own list.
pub(super) struct List(*mut sys::rd_kafka_topic_partition_list_t);

impl List {
    pub(super) fn of(all: &[PartitionOffset]) -> Result<List, Fault> {
        // SAFETY: the list and what is added to it is ours; metadata is allocated by librdkafka's allocator (libc's),
        // which frees it with the list.
        unsafe {
            let list = List(sys::rd_kafka_topic_partition_list_new(all.len() as i32));
            for at in all {
                let name = c_name(&at.topic)?;
                let element =
                    sys::rd_kafka_topic_partition_list_add(list.0, name.as_ptr(), at.partition);
                (*element).offset = at.offset;
                if !at.metadata.is_empty() {
                    let bytes = at.metadata.as_bytes();
                    let copy =
                        sys::rd_kafka_mem_malloc(std::ptr::null_mut(), bytes.len()).cast::<u8>();
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy, bytes.len());
                    (*element).metadata = copy.cast();
                    (*element).metadata_size = bytes.len();
                }
            }
            Ok(list)
        }
    }

    pub(super) fn raw(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0
    }

    fn read(&self) -> Result<Vec<PartitionOffset>, Fault> {
        // SAFETY: a live list; elements are read while it lives.
        unsafe {
            let list = &*self.0;
            let mut all = Vec::new();
            for i in 0..list.cnt as usize {
                let at = &*list.elems.add(i);
                let topic = text(at.topic);
                if at.err != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return Err(Fault::of(at.err, &format!("{topic}[{}]", at.partition)));
                }
                let metadata = if at.metadata.is_null() {
                    String::new()
                } else {
                    let bytes =
                        std::slice::from_raw_parts(at.metadata.cast::<u8>(), at.metadata_size);
                    String::from_utf8_lossy(bytes).into_owned()
                };
                all.push(PartitionOffset {
                    topic,
                    partition: at.partition,
                    offset: at.offset,
                    metadata,
                });
            }
            Ok(all)
        }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: ours, once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) };
    }
}

/// The offsets that the client's group has. Waits for a broker, and (reading committed) for transactions under
/// way to be decided.
pub fn committed(
    client: &Client,
    partitions: &[PartitionOffset],
    wait: Duration,
) -> Result<Vec<PartitionOffset>, Fault> {
    let list = List::of(partitions)?;
    // SAFETY: live handle and list.
    let code = unsafe { sys::rd_kafka_committed(client.rk(), list.raw(), millis(wait)) };
    if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(Fault::of(code, "ask for the group's offsets"));
    }
    list.read()
}

/// Commits offsets to the client's group, without waiting.
pub fn commit(client: &Client, offsets: &[PartitionOffset]) -> Result<(), Fault> {
    let list = List::of(offsets)?;
    // SAFETY: live handle and list; the list is copied.
    let code = unsafe { sys::rd_kafka_commit(client.rk(), list.raw(), 1) };
    if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(Fault::of(code, "commit offsets to the group"));
    }
    Ok(())
}

/// The first offset of each partition whose record is at least as new (milliseconds since 1970 UTC); -1: there
/// is none yet. Waits for a broker.
pub fn at_time(
    client: &Client,
    topic: &str,
    partitions: &[i32],
    time: i64,
    wait: Duration,
) -> Result<Vec<PartitionOffset>, Fault> {
    let asked: Vec<PartitionOffset> = partitions
        .iter()
        .map(|&partition| PartitionOffset {
            topic: topic.to_owned(),
            partition,
            offset: time,
            metadata: String::new(),
        })
        .collect();
    let list = List::of(&asked)?;
    // SAFETY: live handle and list.
    let code = unsafe { sys::rd_kafka_offsets_for_times(client.rk(), list.raw(), millis(wait)) };
    if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(Fault::of(
            code,
            &format!("find offsets of {topic} by their time"),
        ));
    }
    list.read()
}

/// The group by which offsets go into a transaction.
pub struct GroupMetadata(*mut sys::rd_kafka_consumer_group_metadata_t);

// SAFETY: a plain object that calls only read.
unsafe impl Send for GroupMetadata {}
// SAFETY: as above.
unsafe impl Sync for GroupMetadata {}

impl GroupMetadata {
    /// Of a group that nobody joins: partitions are placed by the host.
    pub fn of(group: &str) -> GroupMetadata {
        let name = CString::new(group).unwrap_or_default();
        // SAFETY: a string that is copied.
        GroupMetadata(unsafe { sys::rd_kafka_consumer_group_metadata_new(name.as_ptr()) })
    }

    pub(super) fn raw(&self) -> *const sys::rd_kafka_consumer_group_metadata_t {
        self.0
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: ours, once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0) };
    }
}
