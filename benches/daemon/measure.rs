//! One run of one program: from its first reading, for so long.

use std::{
    fs::File,
    io::{Read, Seek},
    process::{Command, Stdio},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use edge_ger::inside::time::{Clock, Moment, Span, SystemClock};

use crate::{
    Fault,
    broker::{Broker, Reading},
    process::{self, Cost, Running},
};

/// Two slots, the connection to the camera, and the imports of the peer on a machine that is busy.
const FIRST_READING_MAX: Span = Span::from_ms(120_000);
/// How often a program is looked at, whether it still runs.
const LOOK: Duration = Duration::from_millis(250);

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Processor time, as a share of one core.
    pub cpu: f64,
    /// What each process cost in each second of the measured time, and its memory at the end.
    pub processes: Vec<Cost>,
    /// What arrived in the measured time.
    pub readings: Vec<Reading>,
}

impl Measured {
    /// Resident memory of all processes, MB; shared pages count in each.
    pub(crate) fn rss_mb(&self) -> f64 {
        self.processes.iter().map(|it| it.rss_kb as f64 / 1000.0).sum()
    }

    /// Resident memory of all processes, MB; shared pages count once. `None` where the kernel does not tell.
    pub(crate) fn pss_mb(&self) -> Option<f64> {
        self.processes.iter().map(|it| Some(it.pss_kb? as f64 / 1000.0)).sum()
    }

    /// The `percent`th percentile of a property of all readings that the network was asked for (the nearest rank: of fewer than 100
    /// readings, the 99th is the greatest). `None` without readings.
    pub(crate) fn percentile(&self, percent: usize, property: impl Fn(&Reading) -> f64) -> Option<f64> {
        let mut values: Vec<_> = self.readings.iter().filter(|it| it.unasked.is_none()).map(property).collect();
        values.sort_by(f64::total_cmp);
        values.get((values.len() * percent).div_ceil(100).checked_sub(1)?).copied()
    }
}

/// Runs `command` until the network's first answer and for `length` more.
pub(crate) fn run(mut command: Command, broker: &Broker, length: Duration) -> Result<Measured, Fault> {
    let (_subscriber, readings) = broker.subscribe()?;
    let mut log = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    let mut program = Running::new(command.spawn()?);
    let measured = measure(&mut program, &readings, length).map_err(|fault| format!("{fault}\n{}", end_of(&mut log)));
    if !program.stop(Duration::from_secs(5))? {
        eprintln!("bench: it did not end within 5 s of SIGTERM, and was killed");
    }
    Ok(measured?)
}

fn measure(program: &mut Running, readings: &Receiver<Reading>, length: Duration) -> Result<Measured, Fault> {
    let clock = SystemClock;
    let given_up = clock.now() + FIRST_READING_MAX;
    let mut unasked = Vec::new();
    while let Some(reading) = next(program, readings, given_up)? {
        match reading.unasked {
            None => return measure_from_now(program, readings, length),
            Some(reason) => unasked.push(reason),
        }
    }
    unasked.dedup();
    Err(format!("the network was not asked within {FIRST_READING_MAX}; withheld: [{}]", unasked.join(", ")).into())
}

fn measure_from_now(program: &mut Running, readings: &Receiver<Reading>, length: Duration) -> Result<Measured, Fault> {
    let begin = SystemClock.now();
    let before = process::tree(program.pid());
    let mut arrived = Vec::new();
    while let Some(reading) = next(program, readings, begin + Span::from(length))? {
        arrived.push(reading);
    }
    let after = process::tree(program.pid());
    let seconds = (SystemClock.now() - begin).as_secs_f64();
    // One that has ended is accounted for by its parent, so the sums of the whole tree may be compared.
    let sum = |tree: &[Cost]| tree.iter().map(|it| it.cpu_s).sum::<f64>();
    let cpu = (sum(&after) - sum(&before)) / seconds;
    let processes = after.into_iter().map(|it| {
        let old = before.iter().find(|old| old.pid == it.pid);
        it.shares_since(old, seconds)
    });
    Ok(Measured { cpu, processes: processes.collect(), readings: arrived })
}

/// The next reading until `deadline`; `None` then.
fn next(program: &mut Running, readings: &Receiver<Reading>, deadline: Moment) -> Result<Option<Reading>, Fault> {
    loop {
        let left = deadline.after(SystemClock.now());
        if left.is_zero() {
            return Ok(None);
        }
        match readings.recv_timeout(left.min(LOOK)) {
            Ok(reading) => return Ok(Some(reading)),
            Err(RecvTimeoutError::Timeout) if program.ended() => return Err("it ended by itself".into()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the subscriber ended".into()),
        }
    }
}

/// The last lines that the program said.
fn end_of(log: &mut File) -> String {
    const LINES: usize = 20;
    let mut text = Vec::new();
    if log.rewind().and_then(|()| log.read_to_end(&mut text)).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
