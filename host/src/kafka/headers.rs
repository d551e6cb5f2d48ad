//! Finding the headers of a record, at no cost where there are none.

use rdkafka::bindings as sys;
use sys::rd_kafka_resp_err_t as Code;

/// How headers are come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderWay {
    /// Not at all.
    Leave,
    /// The library is asked for each record.
    Ask,
    /// The library is asked where a look at the record finds some: it makes two allocations to say that there are none.
    LookFirst,
}

impl HeaderWay {
    /// Whether they are wanted.
    pub fn of(wanted: bool) -> HeaderWay {
        match wanted {
            false => HeaderWay::Leave,
            true if known_library() => HeaderWay::LookFirst,
            true => HeaderWay::Ask,
        }
    }

    /// The headers of a record, if it has some and they are wanted.
    ///
    /// # Safety
    /// A live message without error. The headers live as long.
    #[inline]
    pub unsafe fn find(
        self,
        message: *const sys::rd_kafka_message_t,
    ) -> Option<*mut sys::rd_kafka_headers_t> {
        // SAFETY: the caller's promise; it is looked into only where the library is the known one.
        unsafe {
            match self {
                HeaderWay::Leave => None,
                HeaderWay::LookFirst if has_no_headers(message) => None,
                HeaderWay::LookFirst | HeaderWay::Ask => ask(message),
            }
        }
    }
}

/// The client library whose messages were seen to lie in the buffer that was fetched (`has_no_headers`).
const LOOKED_INTO: i32 = 0x020c_01ff;

/// Whether it is the one that is linked: with another one, look again.
fn known_library() -> bool {
    // SAFETY: answers a constant.
    unsafe { sys::rd_kafka_version() == LOOKED_INTO }
}

/// No system has smaller pages of memory.
const PAGE: usize = 4_096;

/// Whether a record certainly has no headers.
///
/// # Safety
/// A live message without error, of the library of `known_library`: there, a value is where it was fetched (or
/// decompressed) to, and in Kafka's record format 2 (the one with leader epochs) at least one byte follows it, the
/// first one of the number of headers. No public call tells it without allocating.
#[inline]
unsafe fn has_no_headers(message: *const sys::rd_kafka_message_t) -> bool {
    // SAFETY: the caller's promise. A broker that breaks the format could end its answer with a value, and the byte
    // behind that belongs to the allocator: it can still be read, as the byte before it (of the value, or its length)
    // is on the same page.
    unsafe {
        let m = &*message;
        if m.payload.is_null() {
            return false;
        }
        let behind = m.payload.cast::<u8>().cast_const().wrapping_add(m.len);
        !begins_page(behind) && sys::rd_kafka_message_leader_epoch(message) >= 0 && *behind == 0
    }
}

/// Whether what is before a place may be there and what is at it not.
#[inline]
fn begins_page(at: *const u8) -> bool {
    at.addr().is_multiple_of(PAGE)
}

/// # Safety
/// A live message without error. The headers live as long.
unsafe fn ask(message: *const sys::rd_kafka_message_t) -> Option<*mut sys::rd_kafka_headers_t> {
    let mut headers = std::ptr::null_mut();
    // SAFETY: the caller's promise, and a place to write to.
    let code = unsafe { sys::rd_kafka_message_headers(message, &raw mut headers) };
    (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && !headers.is_null()).then_some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_looked_at_on_a_page_that_a_value_does_not_reach() {
        let at = std::ptr::without_provenance;
        assert!(begins_page(at(3 * PAGE)));
        assert!(!begins_page(at(3 * PAGE - 1)) && !begins_page(at(3 * PAGE + 1)));
    }

    #[test]
    fn client_library_is_the_one_whose_messages_were_looked_into() {
        assert!(
            known_library(),
            "another librdkafka: see whether `has_no_headers` still holds, then set LOOKED_INTO; \
             until then each record costs two allocations more"
        );
    }
}
