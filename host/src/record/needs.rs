use super::{Batch, FieldSpec, Form};

/// What the steps behind a point read of the records that pass it; the plan knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The value itself: as bytes, or in whatever form it has.
    pub value: bool,
    /// Keys.
    pub keys: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Headers.
    pub headers: bool,
    /// Fields of the value.
    pub fields: Vec<FieldSpec>,
}

impl Batch {
    /// Drops what nothing behind asks for. Fields that are needed and not there yet are extracted first, where
    /// the value is about to go; origins and windows stay.
    pub fn prune(&mut self, needs: &Needs) {
        if !needs.value && !matches!(self.value.form, Form::Pruned | Form::Null) {
            crate::format::extract_fields(self, &needs.fields);
            self.value.form = Form::Pruned;
            self.value.bytes = None;
        }
        self.value
            .extracted
            .retain(|(spec, _)| needs.fields.contains(spec));
        if !needs.keys {
            self.keys = None;
        }
        if !needs.timestamps {
            self.timestamps = None;
        }
        if !needs.headers {
            self.headers = None;
        }
    }
}
