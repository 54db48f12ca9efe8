//! Where a program under test stops: at a step, the n-th time it is reached. A file says that it has; deleted, it lets the
//! program go on.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::steps::{Step, Steps};
use tokio::runtime::Handle;

const VARIABLE: &str = "ONHAND_TEST_STOP_AT";

/// The variable that makes a program stop when it reaches `step` for the `nth` time, writing `marker`, until that is deleted.
#[must_use]
pub fn stop_at(step: Step, nth: u32, marker: &Path) -> (&'static str, String) {
    (VARIABLE, serde_json::to_string(&(step, nth, marker)).unwrap())
}

/// In the program under test: the step that the environment names.
#[must_use]
pub fn from_environment() -> Steps {
    let Ok(text) = std::env::var(VARIABLE) else { return Steps::none() };
    let (wanted, nth, marker): (Step, u32, PathBuf) = serde_json::from_str(&text).unwrap();
    let times = Arc::new(AtomicU32::new(0));
    Steps::new(move |step| {
        let stop = step == wanted && times.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        let marker = marker.clone();
        async move {
            if stop {
                std::fs::write(&marker, "reached").unwrap();
                let deleted = crate::until_within(Duration::MAX, "the marker is deleted", async || !marker.exists());
                tokio::task::block_in_place(|| Handle::current().block_on(deleted));
            }
        }
    })
}
