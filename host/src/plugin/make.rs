//! Functions of a plugin as the traits that steps call.

use std::sync::Arc;

use super::aggregate::GuestAggregate;
use super::instance::{Guest, InstanceOptions};
use super::join::GuestJoin;
use super::load::{OpenError, Plugin};
use super::process::GuestProcess;
use super::transform::GuestTransform;
use super::{Aggregate, Descriptor, FunctionKind, InstanceTag, Join, Process, Transform};

impl Plugin {
    /// The same plugin, whose instances run with these options.
    pub fn with_options(&self, options: InstanceOptions) -> Plugin {
        Plugin {
            options,
            ..self.clone()
        }
    }

    /// A function of kind transform or filter. `descriptor` is what `open` answered for this config; the
    /// instance is made at the first batch, and must answer the same.
    pub fn transform(
        &self,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
        tag: InstanceTag,
    ) -> Result<Box<dyn Transform>, OpenError> {
        let kind = match self.function(function)?.kind {
            FunctionKind::Filter => FunctionKind::Filter,
            _ => FunctionKind::Transform,
        };
        Ok(Box::new(GuestTransform {
            guest: self.guest(function, kind, config, descriptor, tag)?,
        }))
    }

    /// A function of kind aggregate.
    pub fn aggregate(
        &self,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
        tag: InstanceTag,
    ) -> Result<Box<dyn Aggregate>, OpenError> {
        Ok(Box::new(GuestAggregate::new(self.guest(
            function,
            FunctionKind::Aggregate,
            config,
            descriptor,
            tag,
        )?)))
    }

    /// Why an aggregate of the plugin gives sessions no gaps; none: it does.
    pub fn refuses_gaps(
        &self,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
    ) -> Result<Option<String>, OpenError> {
        // It works for nobody yet.
        let tag = InstanceTag {
            job: "".into(),
            step: "".into(),
            partition: 0,
        };
        let kind = FunctionKind::Aggregate;
        let guest = self.guest(function, kind, config, descriptor, tag)?;
        Ok(GuestAggregate::new(guest).refuses_gaps())
    }

    /// A function of kind join.
    pub fn join(
        &self,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
        tag: InstanceTag,
    ) -> Result<Box<dyn Join>, OpenError> {
        Ok(Box::new(GuestJoin {
            guest: self.guest(function, FunctionKind::Join, config, descriptor, tag)?,
        }))
    }

    /// A function of kind process.
    pub fn process(
        &self,
        function: &str,
        config: &str,
        descriptor: &Descriptor,
        tag: InstanceTag,
    ) -> Result<Box<dyn Process>, OpenError> {
        Ok(Box::new(GuestProcess {
            guest: self.guest(function, FunctionKind::Process, config, descriptor, tag)?,
        }))
    }

    /// Whether the plugin can bring older accumulators or states up to date.
    pub fn migrates(&self) -> bool {
        self.inner().exports.migration.is_some()
    }

    /// Whether its aggregates can choose the gaps of sessions.
    pub fn chooses_gaps(&self) -> bool {
        self.inner().exports.session.is_some()
    }

    fn guest(
        &self,
        function: &str,
        kind: FunctionKind,
        config: &str,
        descriptor: &Descriptor,
        tag: InstanceTag,
    ) -> Result<Guest, OpenError> {
        let found = self.function(function)?.kind;
        if found != kind {
            return Err(OpenError::Kind {
                name: function.into(),
                found: found.name(),
                wanted: kind.name(),
            });
        }
        let options = self.options.clone();
        Ok(Guest::new(
            self.clone(),
            function,
            kind,
            config,
            Arc::new(descriptor.clone()),
            tag,
            options,
        ))
    }
}
