//! Who compiles next: first come, first served, so many at once. A file that takes its whole minute holds
//! one place; those behind it wait in order, and none waits for ever.

use std::collections::VecDeque;

use parking_lot::{Condvar, Mutex};

/// Places for compile children.
#[derive(Debug)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    next: u64,
    waiting: VecDeque<u64>,
}

/// A place, until it is dropped.
pub struct Turn<'a>(&'a Queue);

impl Queue {
    pub fn new(places: usize) -> Queue {
        Queue {
            state: Mutex::new(State {
                free: places.max(1),
                next: 0,
                waiting: VecDeque::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// As many places as the machine has cores.
    pub fn of_cores() -> Queue {
        Queue::new(std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// Waits for a place.
    pub fn wait(&self) -> Turn<'_> {
        let mut state = self.state.lock();
        let ticket = state.next;
        state.next += 1;
        state.waiting.push_back(ticket);
        while state.free == 0 || state.waiting.front() != Some(&ticket) {
            self.changed.wait(&mut state);
        }
        state.waiting.pop_front();
        state.free -= 1;
        // There may be another place for the one behind.
        self.changed.notify_all();
        Turn(self)
    }

    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.state.lock().free += 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_first_is_served_first() {
        let queue = Queue::new(1);
        let order = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let turn = queue.wait();
            for n in 0..5 {
                let (queue, order) = (&queue, &order);
                scope.spawn(move || {
                    let _turn = queue.wait();
                    order.lock().push(n);
                });
                // Each stands in line before the next one comes.
                while queue.waiting() <= n {
                    std::thread::yield_now();
                }
            }
            drop(turn);
        });
        assert_eq!(*order.lock(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn as_many_at_once_as_there_are_places() {
        let queue = Queue::new(2);
        let first = queue.wait();
        let second = queue.wait();
        assert_eq!(queue.state.lock().free, 0);
        drop((first, second));
        assert_eq!(queue.state.lock().free, 2);
    }
}
