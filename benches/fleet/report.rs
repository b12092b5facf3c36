//! What the bench prints.

use std::{collections::BTreeMap, fs, time::Duration};

use crate::{
    Measured,
    dashboard::Newcomer,
    storm::{self, Storm},
    tally::{Fed, Tally},
};

pub(crate) fn head(boxes: usize, length: Duration, outage: Duration) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{boxes} boxes and one mosquitto share {cores} cores; load before: {}", load());
    println!("each state is measured for {} s, the broker is away for {} s\n", length.as_secs(), outage.as_secs());
}

/// The machine's load of the last minute.
fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

fn percentile(sorted: &[u64], percent: usize) -> String {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or_else(|| "-".into(), u64::to_string)
}

pub(crate) fn states(states: &[Measured]) {
    println!(
        "| boxes | cameras | packets/s in | bytes/s in | packets/s out | bytes/s out | mosquitto CPU % of a core | RSS MB | descriptors | delay p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for it in states {
        let [packets_in, packets_out, bytes_in, bytes_out] = it.counters;
        let mut delays = it.delays_ms.clone();
        delays.sort_unstable();
        println!(
            "| {} | {} | {packets_in:.1} | {bytes_in:.0} | {packets_out:.1} | {bytes_out:.0} | {:.1} | {:.1} | {} | {} | {} |",
            it.boxes,
            it.cameras,
            100.0 * it.broker.cpu_s,
            it.broker.rss_kb as f64 / 1000.0,
            it.descriptors,
            percentile(&delays, 50),
            percentile(&delays, 99),
        );
    }
    let Some(it) = states.last().filter(|it| 0 < it.boxes) else { return };
    let each = |all: f64| all / it.boxes as f64;
    println!(
        "\neach box: {:.2} packets/s and {:.0} bytes/s in all to the broker",
        each(it.counters[0]),
        each(it.counters[2])
    );
    println!(
        "all publishers: {:.0} % of a core, {:.0} MB; over {:.0} s; load: {}",
        100.0 * it.publishers_cpu_s,
        it.publishers_rss_kb as f64 / 1000.0,
        it.seconds,
        load()
    );
}

pub(crate) fn newcomer(it: &Newcomer) {
    println!(
        "a new dashboard: {} retained messages, {:.0} kB of topics and texts, all there after {:.2} s\n",
        it.messages,
        it.bytes as f64 / 1000.0,
        it.seconds
    );
}

fn peak(steps: &BTreeMap<u64, usize>) -> usize {
    steps.values().copied().max().unwrap_or(0)
}

pub(crate) fn storm(it: &Storm) {
    let last_s = it.returns_s.iter().copied().fold(0.0, f64::max);
    println!(
        "the broker was away for {:.1} s; all {} boxes were back {:.1} s later",
        it.outage_s,
        it.boxes,
        last_s - it.outage_s
    );
    let mut returns: Vec<u64> = it.returns_s.iter().map(|at| ((at - it.outage_s).max(0.0) * 1000.0) as u64).collect();
    returns.sort_unstable();
    println!("half of them after {} ms, 99 % after {} ms", percentile(&returns, 50), percentile(&returns, 99));
    println!("\n| attempts to connect | in all | peak in 1 s | peak in 0.1 s | mean per s |");
    println!("|---|---|---|---|---|");
    let line = |name: &str, attempts_s: &[f64]| {
        println!(
            "| {name} | {} | {} | {} | {:.0} |",
            attempts_s.len(),
            peak(&storm::in_steps(attempts_s, 1.0)),
            peak(&storm::in_steps(attempts_s, 0.1)),
            attempts_s.len() as f64 / last_s.max(1.0)
        );
    };
    line("counted", &it.attempts_s);
    line("computed, with the same jitter", &storm::computed(it.boxes, it.outage_s, fastrand::f64));
    line("computed, without jitter", &storm::computed(it.boxes, it.outage_s, || 1.0));
    println!("\nattempts in each second after the loss: {}", row(&storm::in_steps(&it.attempts_s, 1.0)));
    println!("boxes back in each second after the loss: {}", row(&storm::in_steps(&it.returns_s, 1.0)));
    println!("readings at the dashboard in each second after the loss: {}", row(&it.rates));
    println!("peak: {} readings/s", it.rates.values().max().unwrap_or(&0));
    match it.drained_s {
        Some(drained_s) => println!("the last late reading arrived {drained_s:.1} s after the broker's return"),
        None => println!("no reading was late"),
    }
    println!(
        "mosquitto from its return on: {:.1} % of a core, {:.1} MB; load: {}",
        100.0 * it.broker.cpu_s,
        it.broker.rss_kb as f64 / 1000.0,
        load()
    );
}

fn row<T: ToString>(steps: &BTreeMap<u64, T>) -> String {
    let Some(last) = steps.keys().next_back() else { return "none".into() };
    let words: Vec<_> = (0..=*last).map(|at| steps.get(&at).map_or_else(|| "0".into(), T::to_string)).collect();
    words.join(" ")
}

pub(crate) fn sums(tally: &Tally, fed: &[Fed], lost: usize) {
    let count: u64 = fed.iter().map(|(_, first, last)| last + 1 - first).sum();
    println!(
        "\n{count} readings of {} cameras were fed, {} arrived: {lost} lost, {} twice, {} out of order",
        fed.len(),
        tally.count(),
        tally.duplicates,
        tally.out_of_order
    );
}

/// So late the records themselves were: what of the delay is this machine's and not the broker's.
pub(crate) fn feeder(mut late_ms: Vec<u64>) {
    late_ms.sort_unstable();
    println!("records were fed {} ms late (p50), {} ms (p99)", percentile(&late_ms, 50), percentile(&late_ms, 99));
}
