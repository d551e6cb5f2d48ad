//! What SIGINT and SIGTERM do while a job runs, and while it waits to be started again.
//!
//! One thread listens for the life of the process; what a signal means depends on where the run is. This module does
//! not stop jobs itself: the run hands it what stops its job.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

/// Where the run is, and whether it was asked to end.
#[derive(Clone)]
pub struct Interrupts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    asked: bool,
    place: Place,
}

/// Where the run is.
#[derive(Default)]
enum Place {
    /// A job is being started: there is nothing to stop in good order.
    #[default]
    Starting,
    /// A job runs; this asks it to stop.
    Running(Box<dyn Fn() + Send>),
    /// No job runs, and one will be started after a pause.
    Pausing,
}

impl Interrupts {
    /// Listens for signals from now on.
    pub fn listen() -> std::io::Result<Interrupts> {
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
        let interrupts = Interrupts::unheard();
        let heard = interrupts.clone();
        std::thread::Builder::new()
            .name("wasmill-signals".into())
            .spawn(move || {
                for signal in signals.forever() {
                    if heard.hear() == Heard::EndProcess {
                        std::process::exit(128 + signal);
                    }
                }
            })?;
        Ok(interrupts)
    }

    /// Nothing listens; tests call [`Interrupts::hear`] themselves.
    fn unheard() -> Interrupts {
        Interrupts {
            shared: Arc::default(),
        }
    }

    /// A signal came: the first one stops the job or ends the pause, a second one ends the process. So does the first
    /// while a job is being started.
    fn hear(&self) -> Heard {
        let mut state = self.state();
        if std::mem::replace(&mut state.asked, true) {
            return Heard::EndProcess;
        }
        match &state.place {
            Place::Starting => return Heard::EndProcess,
            Place::Running(stop) => stop(),
            Place::Pausing => {}
        }
        self.shared.changed.notify_all();
        Heard::Asked
    }

    /// From now on a signal stops this job.
    pub fn running(&self, stop: impl Fn() + Send + 'static) {
        let mut state = self.state();
        if state.asked {
            stop();
        }
        state.place = Place::Running(Box::new(stop));
    }

    /// Waits, at most this long, before a job is started again. False: it is not to be started any more.
    pub fn pause(&self, wait: Duration) -> bool {
        let mut state = self.state();
        state.place = Place::Pausing;
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, wait, |state| !state.asked);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.place = Place::Starting;
        !state.asked
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A stopper that panicked has changed nothing here.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a signal asks of the thread that listens.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Whoever runs knows now.
    Asked,
    /// Nothing can be ended in good order any more.
    EndProcess,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn first_signal_stops_the_job_and_a_second_one_the_process() {
        let interrupts = Interrupts::unheard();
        let stopped = Arc::new(AtomicU32::new(0));
        let stops = Arc::clone(&stopped);
        interrupts.running(move || {
            stops.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(interrupts.hear(), Heard::Asked);
        assert_eq!(stopped.load(Ordering::Relaxed), 1);
        assert_eq!(interrupts.hear(), Heard::EndProcess);
    }

    #[test]
    fn signal_ends_a_pause_at_once_and_nothing_is_started_again() {
        let interrupts = Interrupts::unheard();
        let paused = interrupts.clone();
        let pause = std::thread::spawn(move || paused.pause(LONG));
        while !matches!(interrupts.state().place, Place::Pausing) {
            std::thread::yield_now();
        }
        assert_eq!(interrupts.hear(), Heard::Asked);
        assert!(!pause.join().expect("the pause does not panic"));
    }

    #[test]
    fn job_that_fails_while_it_stops_is_not_started_again() {
        let interrupts = Interrupts::unheard();
        interrupts.running(|| {});
        assert_eq!(interrupts.hear(), Heard::Asked);
        assert!(!interrupts.pause(LONG));
    }

    #[test]
    fn pause_without_a_signal_ends_by_itself_and_a_signal_during_a_start_ends_the_process() {
        let interrupts = Interrupts::unheard();
        assert!(interrupts.pause(Duration::ZERO));
        assert_eq!(interrupts.hear(), Heard::EndProcess);
    }
}
