/// n byte strings in two buffers: string i is `data[offsets[i]..offsets[i + 1]]`.
///
/// The host's own form of the contract's `bytes-col`, for accumulators and states: cheap to refill,
/// so the same buffers serve batch after batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blobs {
    offsets: Vec<u32>,
    data: Vec<u8>,
}

impl Default for Blobs {
    fn default() -> Blobs {
        Blobs {
            offsets: vec![0],
            data: Vec::new(),
        }
    }
}

impl Blobs {
    /// No strings, with room for some.
    pub fn with_capacity(strings: usize, bytes: usize) -> Blobs {
        let mut offsets = Vec::with_capacity(strings + 1);
        offsets.push(0);
        Blobs {
            offsets,
            data: Vec::with_capacity(bytes),
        }
    }

    /// Takes buffers whose shape was checked before: first offset 0, none falling, last = data length.
    ///
    /// # Panics
    /// If they are not so: callers check what a plugin gave before they come here.
    pub fn from_parts(offsets: Vec<u32>, data: Vec<u8>) -> Blobs {
        assert!(offsets.first() == Some(&0), "first offset is 0");
        assert!(offsets.is_sorted(), "offsets do not fall");
        assert!(
            offsets.last().copied() == u32::try_from(data.len()).ok(),
            "last offset is the length of data"
        );
        Blobs { offsets, data }
    }

    /// How many strings.
    pub fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// String i.
    #[inline]
    pub fn get(&self, i: usize) -> &[u8] {
        &self.data[self.offsets[i] as usize..self.offsets[i + 1] as usize]
    }

    /// Appends a string.
    ///
    /// # Panics
    /// Past 4 GiB of data: callers bound batches far below.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        // Numbers are most of what comes here: no call for eight bytes.
        match <&[u8; 8]>::try_from(bytes) {
            Ok(bytes) => self.data.extend_from_slice(bytes),
            Err(_) => self.data.extend_from_slice(bytes),
        }
        self.offsets
            .push(u32::try_from(self.data.len()).expect("a batch is bounded far below 4 GiB"));
    }

    /// Appends a string of known length: moved without a call.
    #[inline]
    pub fn push_array<const LEN: usize>(&mut self, bytes: &[u8; LEN]) {
        self.data.extend_from_slice(bytes);
        self.offsets
            .push(u32::try_from(self.data.len()).expect("a batch is bounded far below 4 GiB"));
    }

    /// Removes all strings, keeps the buffers.
    pub fn clear(&mut self) {
        self.offsets.truncate(1);
        self.data.clear();
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|i| self.get(i))
    }

    /// The n + 1 offsets.
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// The bytes of all strings.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Blobs {
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Blobs {
        let mut blobs = Blobs::default();
        for s in strings {
            blobs.push(s.as_ref());
        }
        blobs
    }
}
