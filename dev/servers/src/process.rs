//! Signals and bounded waits.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Asks a child of ours to stop; kills it where it does not in time.
pub(crate) fn stop(child: &mut Child, signal: Signal, limit: Duration) -> Result<()> {
    if child.try_wait()?.is_none() {
        kill_process(Pid::from_child(child), signal)?;
        let deadline = Instant::now() + limit;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

/// Ends a server that an earlier guard has left behind: the process that a file names, if it is still that server, which
/// shows by `mark` in its command line.
pub(crate) fn end_leftover(pid_file: &Path, mark: &str, signal: Signal, limit: Duration) {
    let Some(pid) = fs::read_to_string(pid_file).ok().and_then(|text| text.lines().next()?.trim().parse().ok()) else {
        return;
    };
    let Some(process) = Pid::from_raw(pid) else { return };
    let deadline = Instant::now() + limit;
    let mut signal = signal;
    while runs(pid, mark) {
        // Where it is gone meanwhile there is nothing to do.
        if kill_process(process, signal).is_err() {
            return;
        }
        while runs(pid, mark) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
        signal = Signal::KILL;
        std::thread::sleep(LOOK_EVERY);
    }
}

fn runs(pid: i32, mark: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line).contains(mark)
}

/// Tries until it works, the child has ended, or the time is over; says which.
pub(crate) fn until(child: &mut Child, limit: Duration, mut works: impl FnMut() -> bool) -> Result<Waited> {
    let deadline = Instant::now() + limit;
    loop {
        if works() {
            return Ok(Waited::Works);
        }
        if child.try_wait()?.is_some() {
            return Ok(Waited::Ended);
        }
        if Instant::now() > deadline {
            return Ok(Waited::TooLong);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Works,
    Ended,
    TooLong,
}

/// A port on the loopback interface that nobody has now.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_bears_the_mark_is_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = std::process::Command::new("sleep").arg("1000.125").spawn().expect("a process");
        let file = folder.path().join("pid");
        fs::write(&file, format!("{}\n", child.id())).expect("written");
        // A process that has just been started has no command line yet.
        while !runs(i32::try_from(child.id()).expect("a number"), "1000.125") {
            std::thread::yield_now();
        }
        let limit = Duration::from_millis(300);
        end_leftover(&file, "another program", Signal::TERM, limit);
        assert!(child.try_wait().expect("a state").is_none(), "another process was ended");
        // Reaped while it is waited for: otherwise it would stay in the table of processes as our dead child.
        let ending = std::thread::spawn(move || child.wait());
        end_leftover(&file, "1000.125", Signal::TERM, Duration::from_secs(5));
        assert!(ending.join().expect("joined").is_ok());
    }
}
