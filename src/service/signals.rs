//! Signals of the operating system as messages on a channel.

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

/// A signal, by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT: finish, within two seconds.
    Stop,
    /// The second SIGTERM or SIGINT: finish now.
    StopAtOnce,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR1: close cameras and microphones until resumed.
    Pause,
    /// SIGUSR2: open them again.
    Resume,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HangupAction {
    /// The daemon reads its configuration again.
    Reload,
    /// A command belongs to a terminal and ends with it.
    Stop,
}

/// How many signals may wait; further ones wait in the thread that receives them.
const QUEUE_MAX: usize = 16;

/// Receives signals from now on.
///
/// # Errors
/// When the handlers cannot be set or the thread cannot be started.
pub(crate) fn listen(on_hangup: HangupAction) -> io::Result<Receiver<Signal>> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2])?;
    let (sender, receiver) = bounded(QUEUE_MAX);
    let listen = move || {
        let mut stops = StopCount::default();
        for number in signals.forever() {
            if sender.send(stops.next(number, on_hangup)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(listen)?;
    Ok(receiver)
}

/// Ignores all of them, for a worker: it is stopped by its parent alone, so that the last readings are published, and
/// `systemctl kill --signal=HUP` or `USR1`, which reaches every process, ends none.
///
/// # Errors
/// When the handlers cannot be set.
pub(crate) fn ignore() -> io::Result<()> {
    for number in [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2] {
        signal_hook::flag::register(number, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

#[derive(Default)]
struct StopCount {
    has_stopped: bool,
}

impl StopCount {
    fn next(&mut self, number: i32, on_hangup: HangupAction) -> Signal {
        match number {
            SIGHUP if on_hangup == HangupAction::Reload => return Signal::Reload,
            SIGUSR1 => return Signal::Pause,
            SIGUSR2 => return Signal::Resume,
            _ => {}
        }
        if std::mem::replace(&mut self.has_stopped, true) { Signal::StopAtOnce } else { Signal::Stop }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_stop_signal_stops_at_once() {
        let check = |on_hangup, numbers: &[i32], expected: &[Signal]| {
            let mut stops = StopCount::default();
            let got: Vec<_> = numbers.iter().map(|number| stops.next(*number, on_hangup)).collect();
            assert_eq!(got, expected);
        };
        check(HangupAction::Reload, &[SIGHUP, SIGTERM, SIGHUP], &[Signal::Reload, Signal::Stop, Signal::Reload]);
        check(HangupAction::Reload, &[SIGINT, SIGTERM], &[Signal::Stop, Signal::StopAtOnce]);
        check(HangupAction::Stop, &[SIGUSR1, SIGTERM, SIGUSR2], &[Signal::Pause, Signal::Stop, Signal::Resume]);
        check(HangupAction::Stop, &[SIGHUP, SIGINT], &[Signal::Stop, Signal::StopAtOnce]);
    }
}
