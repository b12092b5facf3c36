//! Signals as messages.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// What somebody asked of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: finish, within two seconds.
    Stop,
    /// The second of them: finish now.
    StopAtOnce,
    /// SIGHUP: read the configuration anew.
    Reload,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hangup {
    /// A daemon reads its configuration anew.
    Reloads,
    /// A dry run belongs to a terminal and ends with it.
    Stops,
}

/// Nobody sends more at a time; what is over the limit waits in the thread that listens.
const QUEUE: usize = 16;

/// Listens from now on.
///
/// # Errors
/// When the handlers cannot be set or the thread cannot be started.
pub fn listen(hangup: Hangup) -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let (sender, receiver) = bounded(QUEUE);
    let listen = move || {
        let mut asked = Asked::default();
        for number in signals.forever() {
            if sender.send(asked.next(number, hangup)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen)?;
    Ok(receiver)
}

/// Ignores all three: a room is stopped by its parent, whoever else is told, so that the last readings go out and
/// a `systemctl kill --signal=HUP` ends nobody.
///
/// # Errors
/// When the handlers cannot be set.
pub fn leave_to_parent() -> io::Result<()> {
    for number in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(number, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

#[derive(Default)]
struct Asked {
    stop: bool,
}

impl Asked {
    fn next(&mut self, number: i32, hangup: Hangup) -> Signal {
        if number == SIGHUP && hangup == Hangup::Reloads {
            return Signal::Reload;
        }
        if std::mem::replace(&mut self.stop, true) { Signal::StopAtOnce } else { Signal::Stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stop_is_at_once() {
        let check = |hangup, numbers: &[i32], expected: &[Signal]| {
            let mut asked = Asked::default();
            let got: Vec<_> = numbers.iter().map(|number| asked.next(*number, hangup)).collect();
            assert_eq!(got, expected);
        };
        check(Hangup::Reloads, &[SIGHUP, SIGTERM, SIGHUP], &[Signal::Reload, Signal::Stop, Signal::Reload]);
        check(Hangup::Reloads, &[SIGINT, SIGTERM], &[Signal::Stop, Signal::StopAtOnce]);
        check(Hangup::Stops, &[SIGHUP, SIGINT], &[Signal::Stop, Signal::StopAtOnce]);
    }
}
