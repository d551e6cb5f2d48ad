//! Records on their way: from what puts them out to sinks, steps of this task, and other tasks.

use super::output::{Emission, SlotOutput};
use super::slot::Pending;
use super::source::newest;
use super::{Outgoing, Task, TaskError};
use crate::config::plan::Port;
use crate::record::Batch;
use crate::runtime::counters::NodeCounters;
use crate::runtime::graph::{Root, Route};
use crate::runtime::message::{Message, Tag};
use crate::runtime::operators::{keys_too_long, too_far_ahead, without};
use crate::step::Output as _;

impl Task {
    /// Moves everything that was put out to where it goes.
    pub(super) fn drain(&mut self) -> Result<(), TaskError> {
        while let Some(emission) = self.emitted.pop_front() {
            let Emission {
                slot,
                port,
                tag,
                batch,
            } = emission;
            let batch = match slot {
                Some(slot) if port != Port::Errors && port != Port::Late => {
                    self.observe(slot, tag, batch)?
                }
                _ => batch,
            };
            if batch.len == 0 {
                continue;
            }
            let routes = match slot {
                None => self.source.as_ref().map(|s| &s.routes),
                Some(slot) => Some(&self.slots[slot].routes),
            };
            let routes: Vec<Route> = routes.map_or_else(Vec::new, |r| r.of(port).to_vec());
            let last = routes.len().saturating_sub(1);
            let mut batch = Some(batch);
            for (i, route) in routes.into_iter().enumerate() {
                let batch = if i == last {
                    batch.take()
                } else {
                    batch.clone()
                };
                self.route(route, tag, batch.expect("taken only by the last route"))?;
            }
        }
        Ok(())
    }

    fn route(&mut self, route: Route, tag: Tag, mut batch: Batch) -> Result<(), TaskError> {
        match route {
            Route::Sink(sink) => {
                NodeCounters::add(&self.counters.sinks[sink].records_in, batch.len);
                let writer = self.sinks[sink]
                    .as_mut()
                    .expect("a stage has writers for the sinks that it leads to");
                Ok(writer.write(batch)?)
            }
            Route::Local { slot, input, lane } => {
                batch.windows = None;
                batch.errors = None;
                let tag = Tag {
                    lane: tag.lane + lane,
                    ..tag
                };
                if self.slots[slot].keyed.is_some() {
                    self.enqueue(slot, input, tag, batch)
                } else {
                    self.hand_over(slot, input, tag, batch)
                }
            }
            Route::Exchange {
                stage,
                slot,
                input,
                broadcast,
            } => {
                batch.windows = None;
                batch.errors = None;
                if let Some(needs) = self.needs.get(&(stage, slot, input)) {
                    batch.prune(needs);
                }
                let outbox = &mut self.outbox;
                if broadcast {
                    outbox.push(Outgoing {
                        stage,
                        task: None,
                        message: Message::Batch {
                            slot,
                            input,
                            tag,
                            batch,
                        },
                    });
                } else {
                    let dealer = self
                        .dealers
                        .get_mut(&stage)
                        .expect("there is a dealer for each stage behind");
                    let mut send = |tag: Tag, batch: Batch| {
                        dealer.deal(batch, |task, batch| {
                            outbox.push(Outgoing {
                                stage,
                                task: Some(task),
                                message: Message::Batch {
                                    slot,
                                    input,
                                    tag,
                                    batch,
                                },
                            });
                        });
                    };
                    if self.by_row.contains(&(stage, slot)) {
                        for row in 0..batch.len as u32 {
                            send(Tag { row, ..tag }, batch.take(&[row]));
                        }
                    } else {
                        send(tag, batch);
                    }
                }
                Ok(())
            }
        }
    }

    pub(super) fn enqueue(
        &mut self,
        slot: usize,
        input: usize,
        tag: Tag,
        batch: Batch,
    ) -> Result<(), TaskError> {
        let keyed = self.slots[slot]
            .keyed
            .as_mut()
            .expect("records are sent to stateful slots only");
        keyed.pending_records += batch.len;
        keyed.pending.push_back(Pending { input, tag, batch });
        if !self.settings.ordered {
            // Enough for a call: taken now, so that no boundary holds much in memory.
            while self.slots[slot]
                .keyed
                .as_ref()
                .is_some_and(|k| k.pending_records >= self.settings.batch_records)
            {
                let Some((input, batch)) = self.next_pending(slot) else {
                    break;
                };
                self.hand_over(slot, input, Tag::default(), batch)?;
            }
        }
        Ok(())
    }

    pub(super) fn hand_over(
        &mut self,
        slot: usize,
        input: usize,
        tag: Tag,
        mut batch: Batch,
    ) -> Result<(), TaskError> {
        let this = &mut self.slots[slot];
        let counters = &self.counters.steps[usize::from(this.index)];
        NodeCounters::add(&counters.records_in, batch.len);
        let long = match this.keyed {
            Some(_) => keys_too_long(&batch, self.settings.key_bytes_max),
            None => Vec::new(),
        };
        let sequence = this.keyed.is_some().then_some(&mut self.next_sequence);
        let mut out = SlotOutput {
            emitted: &mut self.emitted,
            slot,
            tag,
            sequence,
            policy: &this.policy,
            counters,
        };
        if !long.is_empty() {
            let rows = without(batch.len, &long).unwrap_or_default();
            out.reject(&batch, long)?;
            batch = batch.take(&rows);
        }
        this.step.on_batch(input, batch, &mut out)?;
        this.measure()
    }

    /// Timestamps that a step assigned move its watermark; those too far ahead fail.
    fn observe(&mut self, slot: usize, tag: Tag, batch: Batch) -> Result<Batch, TaskError> {
        let Some(event_time) = self.slots[slot].event_time else {
            return Ok(batch);
        };
        let rejected = too_far_ahead(&batch, event_time.max_ahead_ms, self.now);
        let mut good = batch;
        if !rejected.is_empty() {
            let this = &self.slots[slot];
            NodeCounters::add(
                &self.counters.steps[usize::from(this.index)].rejected,
                rejected.len(),
            );
            if let Some(letters) = this.policy.settle(&good, &rejected)? {
                self.emitted.push_back(Emission {
                    slot: Some(slot),
                    port: Port::Errors,
                    tag,
                    batch: letters,
                });
            }
            let rows = without(good.len, &rejected).unwrap_or_default();
            good = good.take(&rows);
        }
        let root = Root::Assigned(self.slots[slot].index);
        let owned = self
            .source
            .as_mut()
            .zip(tag.partition)
            .and_then(|(s, (_, p))| s.partitions.get_mut(&p));
        if let Some(time) = owned.and_then(|o| o.times.get_mut(&root)) {
            time.watermark.observe(newest(&good));
        }
        Ok(good)
    }
}
