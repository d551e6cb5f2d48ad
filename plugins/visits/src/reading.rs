//! Reading: pages tell how long they hold a reader, so that each has its own gap (`session = "from-plugin"`).

use wasmill_plugin::{Emit, Fields, State, aggregate};

/// A page that was opened.
#[derive(Fields)]
pub struct Page<'a> {
    page: &'a str,
    /// For how long it may be read.
    seconds: i64,
}

/// The pages read in one go.
#[derive(Default, State)]
pub struct Reading {
    pages: Vec<String>,
    seconds: i64,
}

/// What is said of them.
#[derive(Emit)]
pub struct Read {
    pages: String,
    seconds: i64,
}

/// Which pages were read in one go, and how long they take; a page without any length is rejected
#[aggregate(order_dependent)]
impl Reading {
    fn gap(page: Page<'_>) -> i64 {
        page.seconds * 1000
    }

    fn add(&mut self, page: Page<'_>) {
        self.pages.push(page.page.into());
        self.seconds += page.seconds;
    }

    fn merge(&mut self, later: Reading) {
        self.pages.extend(later.pages);
        self.seconds += later.seconds;
    }

    fn finish(self) -> Read {
        Read {
            pages: self.pages.join(" "),
            seconds: self.seconds,
        }
    }
}
