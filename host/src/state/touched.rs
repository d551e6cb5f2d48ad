//! Which of many numbered things changed since the last snapshot.

/// So many numbers may be remembered, whatever is kept.
const NUMBERS_MIN: usize = 64 * 1024;
/// So many bytes of names of what is gone, whatever is kept.
const GONE_BYTES_MIN: usize = 4 << 20;

/// Numbers of things that changed, and names of those that are gone, since the last snapshot.
///
/// Costs nothing before the first snapshot. If none is asked for any more while things come and go, it gives up
/// rather than grow: the next snapshot is a whole one then. Marks on the things themselves (`Mark`) keep
/// each from being told twice; a number may be told again once its thing was replaced.
#[derive(Debug, Default)]
pub struct Touched {
    on: bool,
    numbers: Vec<u32>,
    /// Names one after the other, each behind its length (4 bytes).
    gone: Vec<u8>,
}

/// What snapshots need to know of a thing; fits where a number leaves padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its name is in a snapshot: when it goes, that must be said.
    pub stored: bool,
    /// It changed since, and its number is remembered.
    pub changed: bool,
}

impl Mark {
    /// It is in a snapshot as it is.
    pub const STORED: Mark = Mark {
        stored: true,
        changed: false,
    };
}

impl Touched {
    /// Whether changes are being remembered: else only a whole snapshot will do.
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Thing `number` of `all` changed, or is new.
    #[inline]
    pub fn touch(&mut self, number: u32, mark: &mut Mark, all: usize) {
        if self.on && !mark.changed {
            mark.changed = true;
            self.numbers.push(number);
            if self.numbers.len() > NUMBERS_MIN.max(2 * all) {
                self.give_up();
            }
        }
    }

    /// A thing is gone; `name` appends how it is called. `all_bytes`: what all things take, roughly.
    pub fn remove(&mut self, mark: Mark, all_bytes: usize, name: impl FnOnce(&mut Vec<u8>)) {
        if !self.on || !mark.stored {
            return;
        }
        let start = self.gone.len();
        self.gone.extend([0; 4]);
        name(&mut self.gone);
        let length = u32::try_from(self.gone.len() - start - 4).expect("names are far below 4 GiB");
        self.gone[start..start + 4].copy_from_slice(&length.to_le_bytes());
        if self.gone.len() > GONE_BYTES_MIN.max(all_bytes) {
            self.give_up();
        }
    }

    /// Things got other numbers: `new` says which, by the old ones; none: it is not here any more, and whoever has it
    /// knows whether it changed.
    pub fn renumber(&mut self, new: impl Fn(u32) -> Option<u32>) {
        let numbers = self.numbers.iter().filter_map(|number| new(*number));
        self.numbers = numbers.collect();
    }

    /// From now on changes are remembered.
    pub fn start(&mut self) {
        self.give_up();
        self.on = true;
    }

    /// Numbers of what changed; some may be of things that are gone or replaced.
    pub fn take_numbers(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.numbers)
    }

    /// Names of what is gone.
    pub fn take_gone(&mut self) -> Gone {
        Gone(std::mem::take(&mut self.gone))
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.numbers.capacity() * size_of::<u32>() + self.gone.capacity()
    }

    fn give_up(&mut self) {
        *self = Touched::default();
    }
}

/// Names of what is gone.
#[derive(Debug, Default)]
pub struct Gone(Vec<u8>);

impl Gone {
    /// Each of them.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (name, behind) = behind.split_at(u32::from_le_bytes(*length) as usize);
            rest = behind;
            Some(name)
        })
    }
}
