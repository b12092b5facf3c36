//! Signals as messages.

use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
    thread,
};

use crossbeam_channel::{Receiver, bounded};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2},
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
    /// SIGUSR1: look and listen no more, until resumed.
    Pause,
    /// SIGUSR2: look and listen again.
    Resume,
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
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
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

/// Ignores all of them: a room is stopped by its parent, whoever else is told, so that the last readings go out and
/// a `systemctl kill --signal=HUP`, or `USR1`, ends nobody.
///
/// # Errors
/// When the handlers cannot be set.
pub fn leave_to_parent() -> io::Result<()> {
    for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
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
        match number {
            SIGHUP if hangup == Hangup::Reloads => return Signal::Reload,
            SIGUSR1 => return Signal::Pause,
            SIGUSR2 => return Signal::Resume,
            _ => {}
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
        check(Hangup::Stops, &[SIGUSR1, SIGTERM, SIGUSR2], &[Signal::Pause, Signal::Stop, Signal::Resume]);
        check(Hangup::Stops, &[SIGHUP, SIGINT], &[Signal::Stop, Signal::StopAtOnce]);
    }
}
