//! Aggregates whose accumulators have a fixed size: they are worked on where they lie, since with many keys
//! each batch touches nearly as many accumulators as it has records.
//!
//! An accumulator is a few 8-byte words, little-endian. Their layouts must stay stable: checkpoints hold them.
//! All zeros is the accumulator of nothing.

use wasmill_plugin::contract::{
    Batch, BytesCol, Descriptor, Failure, OnBad, Payload, Traits, Windows,
};
use wasmill_plugin::{Instance, Reject, config, each_row, host};

use crate::number::{Number, Numbers, specs};
use crate::numeric::{OfField, pointer};

/// What one of these aggregates makes of numbers, in accumulators of `N` bytes.
pub trait Measure<const N: usize>: 'static {
    fn add(acc: &mut [u8; N], number: Number) -> Result<(), Reject>;
    /// Never fails: a merge is nobody's record.
    fn merge(acc: &mut [u8; N], later: &[u8; N]);
    /// The result. An error fails this group; what was written of it does not count.
    fn json(acc: &[u8; N], out: &mut Vec<u8>) -> Result<(), Reject>;
}

/// Word `at` of an accumulator.
#[inline]
pub fn word<const N: usize>(acc: &[u8; N], at: usize) -> u64 {
    let bytes = acc[at * 8..at * 8 + 8].try_into();
    u64::from_le_bytes(bytes.expect("a word has 8 bytes"))
}

#[inline]
pub fn set_word<const N: usize>(acc: &mut [u8; N], at: usize, word: u64) {
    acc[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
}

/// A measure over a field.
struct Measuring<M, const N: usize> {
    pointer: String,
    measure: std::marker::PhantomData<M>,
}

/// Opens a measure over the config's field.
pub fn open<M: Measure<N>, const N: usize>(config: &[u8]) -> Result<Box<dyn Instance>, Failure> {
    let config = config::read::<OfField>(config)?;
    let pointer = pointer(config.field).map_err(|e| Failure::new(format!("config: {e}")))?;
    Ok(Box::new(Measuring::<M, N> {
        pointer,
        measure: std::marker::PhantomData,
    }))
}

/// The accumulators, in place.
pub fn chunks<const N: usize>(accs: &mut BytesCol) -> Result<&mut [[u8; N]], Failure> {
    let groups = accs.len();
    let (chunks, rest) = accs.data.as_chunks_mut::<N>();
    if chunks.len() != groups || !rest.is_empty() {
        return Err(Failure::new(format!(
            "an accumulator of this function has {N} bytes"
        )));
    }
    Ok(chunks)
}

impl<M: Measure<N>, const N: usize> Instance for Measuring<M, N> {
    fn descriptor(&self) -> Descriptor {
        Descriptor {
            fields: specs(&self.pointer, OnBad::Reject, OnBad::Reject).into(),
            traits: Traits::MERGEABLE,
            ..Descriptor::default()
        }
    }

    fn init(&mut self) -> Result<Vec<u8>, Failure> {
        Ok(vec![0; N])
    }

    fn add(
        &mut self,
        input: Batch,
        rows: Option<Vec<u32>>,
        groups: Vec<u32>,
        mut accs: BytesCol,
    ) -> Result<BytesCol, Failure> {
        let all = chunks::<N>(&mut accs)?;
        let numbers = Numbers::of(&input, 0);
        let mut one = |row: u32, group: u32| {
            if let Some(number) = numbers.get(row as usize)
                && let Err(reason) = M::add(&mut all[group as usize], number)
            {
                host::reject(row, reason.reason());
            }
        };
        match &rows {
            Some(rows) => rows
                .iter()
                .zip(&groups)
                .for_each(|(row, group)| one(*row, *group)),
            None => each_row(groups.len(), |row| one(row as u32, groups[row])),
        }
        Ok(accs)
    }

    fn merge(&mut self, mut left: BytesCol, mut right: BytesCol) -> Result<BytesCol, Failure> {
        let right = chunks::<N>(&mut right)?;
        for (left, right) in chunks::<N>(&mut left)?.iter_mut().zip(right) {
            M::merge(left, right);
        }
        Ok(left)
    }

    fn finish(&mut self, _: BytesCol, _: Windows, mut accs: BytesCol) -> Result<(), Failure> {
        let mut values = BytesCol::with_capacity(accs.len(), accs.len() * 16);
        for (group, acc) in chunks::<N>(&mut accs)?.iter().enumerate() {
            if let Err(reason) = M::json(acc, &mut values.data) {
                host::reject(group as u32, reason.reason());
            }
            values.end_string();
        }
        host::emit(None, &Payload::Bytes(values), None, None);
        Ok(())
    }
}
