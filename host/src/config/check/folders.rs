//! What a job writes is neither shared with something else that it writes, nor read by itself.

use std::path::{Component, Path, PathBuf};

use super::super::host::PluginHost;
use super::super::kafka::KafkaTopics;
use super::super::plan::{SinkConnector, SourceConnector};
use super::super::spec::SinkSpec;
use super::Checker;
use super::rules::{PATHS_HINT, join_pattern};

/// What parts are called.
const A_PART: &str = "part-0000000001-0000-000000.jsonl";

/// The folder that a path leads to: as much of it as there is, with its links followed, and the rest as text.
fn real(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                // What a link leads to has another parent than the link.
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            part => plain.push(part),
        }
    }
    let there = plain
        .ancestors()
        .find_map(|a| Some((a, a.canonicalize().ok()?)));
    match there {
        Some((ancestor, real)) => match plain.strip_prefix(ancestor) {
            Ok(rest) if rest.as_os_str().is_empty() => real,
            Ok(rest) => real.join(rest),
            Err(_) => plain,
        },
        None => plain,
    }
}

impl<H: PluginHost> Checker<'_, H> {
    /// File sinks have folders of their own.
    pub(super) fn check_sink_folders(&mut self) {
        let spec = self.spec;
        let mut folders: Vec<(PathBuf, &str)> = Vec::new();
        let checkpoints = spec.checkpoint.as_ref().filter(|c| !c.path.contains("://"));
        let checkpoints = checkpoints.map(|c| real(&self.base.join(&c.path)));
        for sink in &spec.sinks {
            let Some(SinkConnector::File { path, .. }) = &sink.connector else {
                continue;
            };
            let path = self.base.join(path);
            let span = sink.path_span.unwrap_or(sink.name.span);
            if let Err(words) = self.options.operator.writes.check_now(&path) {
                self.problems.error(span, words).help(PATHS_HINT);
                continue;
            }
            let folder = real(&path);
            if let Some((_, other)) = folders.iter().find(|(p, _)| *p == folder) {
                let words = format!("the sink {other:?} writes into this folder already");
                self.problems.error(span, words);
            }
            if checkpoints.as_ref() == Some(&folder) {
                let words = "this is the folder of the checkpoints: parts have one of their own";
                self.problems.error(span, words);
            }
            if path.exists() && !path.is_dir() {
                let this = match path.is_file() {
                    true => "a file",
                    false => "a pipe or a device",
                };
                let words = format!(
                    "\"path\" of a file sink is a folder of part files, and this is {this}"
                );
                self.problems.error(span, words);
            }
            folders.push((folder, &sink.name.value));
        }
    }

    /// A job that reads what it writes never comes to an end, and what it writes only grows.
    pub(super) fn check_echoes(&mut self) {
        let spec = self.spec;
        for source in &spec.sources {
            let Some(sink) = spec.sinks.iter().find(|sink| self.hears(source, sink)) else {
                continue;
            };
            let (span, name) = (
                source.path_span.unwrap_or(source.name.span),
                &sink.name.value,
            );
            let what = match &source.connector {
                Some(SourceConnector::File { .. }) => "the parts",
                _ => "the topic",
            };
            let words = format!(
                "source {:?} reads {what} that sink {name:?} writes: the job would feed itself for ever",
                source.name.value
            );
            self.problems
                .error(span, words)
                .help("write to another place, or read one that leaves this one out");
        }
    }

    /// Whether a source goes on to read what a sink of this job writes.
    fn hears(&self, source: &super::super::spec::SourceSpec, sink: &SinkSpec) -> bool {
        match (&source.connector, &sink.connector) {
            (
                Some(SourceConnector::File {
                    pattern,
                    watch_ms: Some(_),
                    ..
                }),
                Some(SinkConnector::File { path, .. }),
            ) => {
                let full = join_pattern(&self.base, pattern);
                let by_text = glob::Pattern::new(&full)
                    .is_ok_and(|pattern| pattern.matches_path(&self.base.join(path).join(A_PART)));
                // The same folder by another way there.
                let pattern = Path::new(&full);
                let by_place = pattern.parent().is_some_and(|folder| {
                    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
                    real(folder) == real(&self.base.join(path))
                        && glob::Pattern::new(&name).is_ok_and(|name| name.matches(A_PART))
                });
                by_text || by_place
            }
            (Some(SourceConnector::Kafka(from)), Some(SinkConnector::Kafka(to))) => {
                let topic = to.topic.fixed.as_deref();
                from.end.is_none()
                    && from.brokers == to.brokers
                    && match &from.topics {
                        KafkaTopics::List(topics) => topics.iter().any(|t| Some(&**t) == topic),
                        KafkaTopics::Pattern(_) => false,
                    }
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_called_as_sinks_call_it() {
        let part = crate::sink::parts::PartName::parse(A_PART);
        assert_eq!(part.map(|p| p.epoch), Some(1));
    }

    #[test]
    fn folders_are_the_same_however_their_paths_are_written() {
        let scratch = tempfile::tempdir().unwrap();
        let at = scratch.path().canonicalize().unwrap();
        std::fs::create_dir_all(at.join("a/b")).unwrap();
        std::os::unix::fs::symlink(at.join("a/b"), at.join("link")).unwrap();
        for same in ["a/b/c", "a/./b/c/", "a/x/../b/c", "link/c", "link/../b/c"] {
            assert_eq!(real(&at.join(same)), at.join("a/b/c"), "{same}");
        }
        assert_eq!(real(&at.join("link/../c")), at.join("a/c"));
    }
}
