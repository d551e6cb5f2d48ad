//! What a step puts out, on its way to where it goes: counted, tagged, failures settled by the step's policy.

use std::collections::VecDeque;

use crate::config::plan::Port;
use crate::plugin::Rejected;
use crate::record::Batch;
use crate::runtime::counters::NodeCounters;
use crate::runtime::message::Tag;
use crate::runtime::policy::ErrorPolicy;
use crate::step::{Output, StepError};

/// Records on their way out of a port.
pub(super) struct Emission {
    pub(super) slot: Option<usize>,
    pub(super) port: Port,
    pub(super) tag: Tag,
    pub(super) batch: Batch,
}

/// What a step puts out, on its way.
pub(super) struct SlotOutput<'a> {
    pub(super) emitted: &'a mut VecDeque<Emission>,
    pub(super) slot: usize,
    /// Of the records at work: outputs of stateless steps keep it.
    pub(super) tag: Tag,
    /// Stateful steps number their outputs anew.
    pub(super) sequence: Option<&'a mut u64>,
    pub(super) policy: &'a ErrorPolicy,
    pub(super) counters: &'a NodeCounters,
}

impl SlotOutput<'_> {
    fn push(&mut self, port: Port, batch: Batch) {
        let tag = match &mut self.sequence {
            None => self.tag,
            Some(next) => {
                **next += 1;
                Tag {
                    lane: 0,
                    sequence: **next,
                    row: 0,
                    partition: None,
                }
            }
        };
        self.emitted.push_back(Emission {
            slot: Some(self.slot),
            port,
            tag,
            batch,
        });
    }
}

impl Output for SlotOutput<'_> {
    fn emit(&mut self, port: Port, batch: Batch) -> Result<(), StepError> {
        if batch.len == 0 {
            return Ok(());
        }
        if port != Port::Late {
            NodeCounters::add(&self.counters.records_out, batch.len);
        }
        self.push(port, batch);
        Ok(())
    }

    fn reject(&mut self, batch: &Batch, rejected: Vec<Rejected>) -> Result<(), StepError> {
        NodeCounters::add(&self.counters.rejected, rejected.len());
        if let Some(letters) = self.policy.settle(batch, &rejected)? {
            self.push(Port::Errors, letters);
        }
        Ok(())
    }

    fn reject_result(
        &mut self,
        key: Option<&[u8]>,
        window: Option<(i64, i64)>,
        rejected: Rejected,
    ) -> Result<(), StepError> {
        NodeCounters::add(&self.counters.rejected, 1);
        let mut result = Batch::of(1, crate::record::Value::new(crate::record::Form::Null));
        result.keys = Some(arrow_array::BinaryArray::from_opt_vec(vec![key]));
        result.windows = window.map(|(start, end)| crate::step::windows_of(vec![start], vec![end]));
        if let Some(letters) = self.policy.settle_result(result, &rejected)? {
            self.push(Port::Errors, letters);
        }
        Ok(())
    }

    fn count_late(&mut self, records: u64) {
        NodeCounters::add(&self.counters.late, records as usize);
    }
}
