//! Times on their way: what partitions and steps say of watermarks and idleness, to whom it concerns.

use std::sync::Arc;

use super::{LOCAL, Outgoing, Task};
use crate::runtime::counters::PartitionState;
use crate::runtime::graph::Root;
use crate::runtime::message::{Message, TimeId, TimeUpdate};
use crate::time::Watermark;

impl Task {
    /// Times from another task.
    pub fn on_times(&mut self, channel: u32, updates: &[TimeUpdate]) {
        self.silent.remove(&channel);
        for update in updates {
            self.note_time(channel, update);
        }
    }

    fn note_time(&mut self, channel: u32, update: &TimeUpdate) {
        for slot in &mut self.slots {
            let Some(keyed) = &mut slot.keyed else {
                continue;
            };
            for (input, roots) in keyed.roots.iter().enumerate() {
                if roots.contains(&update.id.root) {
                    keyed.tracker.add(input, update.id.into(), channel);
                }
            }
            // Of what was not added, the tracker takes nothing.
            let id = update.id.into();
            if update.idle {
                keyed.tracker.set(channel, id, update.watermark);
                keyed.tracker.idle(channel, id);
            } else {
                keyed.tracker.active(channel, id);
                keyed.tracker.set(channel, id, update.watermark);
            }
        }
    }

    /// A step learns how far its inputs are.
    pub(super) fn advance(&mut self, slot: usize) {
        let held = !self.silent.is_empty();
        if let Some(keyed) = &mut self.slots[slot].keyed {
            if !held {
                keyed.watermark = keyed.tracker.advance();
                for (input, watermark) in keyed.inputs.iter_mut().enumerate() {
                    *watermark = keyed.tracker.input(input);
                }
            }
            keyed
                .shown
                .store(keyed.watermark.0, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// Tells those behind where a stateful step's output stands, and whether there is anything to wait for.
    pub(super) fn publish(&mut self, slot: usize) {
        let held = !self.silent.is_empty();
        let this = &mut self.slots[slot];
        let Some(keyed) = &mut this.keyed else { return };
        let before = keyed
            .told
            .map_or(Watermark::NONE, |(watermark, _)| watermark);
        let watermark = before.max(this.step.output_watermark(keyed.watermark));
        let idle = keyed.passes_idleness && !held && keyed.tracker.is_idle();
        if keyed.told != Some((watermark, idle)) {
            keyed.told = Some((watermark, idle));
            let id = TimeId {
                root: Root::Step(this.index),
                source: 0,
                partition: 0,
            };
            self.tell(TimeUpdate {
                id,
                watermark,
                idle,
            });
        }
    }

    pub(super) fn collect_source_times(&mut self) {
        let Some(source) = &mut self.source else {
            return;
        };
        let mut updates = Vec::new();
        for (&partition, owned) in &mut source.partitions {
            for (&root, time) in &mut owned.times {
                let now = (time.watermark.advance(), time.watermark.is_idle());
                if time.told != Some(now) {
                    time.told = Some(now);
                    let id = TimeId {
                        root,
                        source: source.index,
                        partition,
                    };
                    updates.push(TimeUpdate {
                        id,
                        watermark: now.0,
                        idle: now.1,
                    });
                }
            }
        }
        if !updates.is_empty() {
            let mut shown = self.counters.partitions.lock();
            for update in &updates {
                let state = PartitionState {
                    watermark: update.watermark,
                    idle: update.idle,
                };
                let at = shown
                    .entry((update.id.source, update.id.partition))
                    .or_insert(state);
                *at = PartitionState {
                    watermark: at.watermark.max(state.watermark),
                    ..state
                };
            }
        }
        for update in updates {
            self.tell(update);
        }
    }

    fn tell(&mut self, update: TimeUpdate) {
        self.note_time(LOCAL, &update);
        self.times.push(update);
    }

    pub(super) fn send_times(&mut self, even_if_none: bool) {
        if self.times.is_empty() && !even_if_none {
            return;
        }
        let times: Arc<[TimeUpdate]> = std::mem::take(&mut self.times).into();
        for &stage in &self.downstream {
            self.outbox.push(Outgoing {
                stage,
                task: None,
                message: Message::Times(Arc::clone(&times)),
            });
        }
    }
}
