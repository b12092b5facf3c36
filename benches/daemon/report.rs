//! The table, and the goals beside the figures.

use std::{fs, thread, time::Duration};

use crate::{broker::Reading, measure::Measured};

/// The runs on one camera, without inference.
#[derive(Debug)]
pub(crate) struct Names {
    /// The daemon.
    pub daemon: &'static str,
    /// The script that every tutorial shows: each frame is read, converted, scaled and kept.
    pub peer: &'static str,
    /// The same, but frames that the network does not see are decoded only.
    pub frugal_peer: &'static str,
}

/// The camera of 2 Mbit/s without sound.
pub(crate) const PLAIN: Names =
    Names { daemon: "2 Mbit/s: edge-ger", peer: "2 Mbit/s: peer", frugal_peer: "2 Mbit/s: frugal peer" };
/// The camera of 4 Mbit/s with sound.
pub(crate) const BUSY: Names =
    Names { daemon: "4 Mbit/s, AAC: edge-ger", peer: "4 Mbit/s, AAC: peer", frugal_peer: "4 Mbit/s, AAC: frugal peer" };
/// The daemon as it is shipped, on the latter.
pub(crate) const SHIPPED: &str = "edge-ger, shipped network";

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// Which run.
    pub name: &'static str,
    /// What it came to.
    pub measured: Measured,
}

/// What is measured, and on what.
pub(crate) fn head(length: Duration) {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?");
    println!(
        "one camera, 1080p25 H.264, a key frame every second; a network that costs next to nothing; broker on this machine"
    );
    println!(
        "each run: {} s after the first answer; this machine: {cores} cores, load {load} before",
        length.as_secs()
    );
}

/// All runs side by side, and then each process of each.
pub(crate) fn table(rows: &[Row]) {
    println!();
    println!(
        "{:28} {:>9} {:>7} {:>13} {:>13} {:>13} {:>13} {:>9}",
        "", "CPU, % of", "times", "latency, own", "at subscriber", "- inference", "memory, MB", "readings",
    );
    println!(
        "{:28} {:>9} {:>7} {:>13} {:>13} {:>13} {:>13} {:>9}",
        "", "one core", "daemon", "p50/p99, ms", "p50/p99, ms", "p50/p99, ms", "RSS/PSS", "/unasked",
    );
    for Row { name, measured } in rows {
        let times = [PLAIN, BUSY].into_iter().find(|it| [it.peer, it.frugal_peer].contains(name));
        let daemon = times.and_then(|it| find(rows, it.daemon));
        let times =
            daemon.filter(|it| 0.0 < it.cpu).map_or(String::new(), |it| format!("{:.1}", measured.cpu / it.cpu));
        let unasked = measured.readings.iter().filter(|it| it.unasked.is_some()).count();
        println!(
            "{name:28} {:>9.2} {times:>7} {:>13} {:>13} {:>13} {:>13} {:>9}",
            100.0 * measured.cpu,
            both(measured, |it| it.latency_ms),
            both(measured, |it| it.arrived_after_ms),
            both(measured, added_ms),
            format!("{:.0}/{}", measured.rss_mb(), mega(measured.pss_mb())),
            format!("{}/{unasked}", measured.readings.len()),
        );
    }
    println!(
        "(unasked: withheld before the network, left out of the latencies; of fewer than 100 readings, p99 is the worst)"
    );
}

/// Each process, and each thread of it that costs anything.
pub(crate) fn processes(rows: &[Row]) {
    /// Cheaper threads are not shown, as a share of one core.
    const SHOWN_FROM: f64 = 0.001;
    println!("\neach process and thread (CPU, % of one core; RSS/PSS, MB)");
    for Row { name, measured } in rows {
        println!("{name}");
        for cost in &measured.processes {
            let (rss_mb, pss_mb) = (cost.rss_kb as f64 / 1000.0, mega(cost.pss_kb.map(|it| it as f64 / 1000.0)));
            println!("  {:42} {:>6.2} {rss_mb:>6.0}/{pss_mb}", cost.name, 100.0 * cost.cpu_s);
            for (thread, cpu_s) in cost.threads.iter().filter(|it| SHOWN_FROM <= *it.1) {
                println!("    {thread:40} {:>6.2}", 100.0 * cpu_s);
            }
        }
    }
}

fn mega(value: Option<f64>) -> String {
    value.map_or("?".to_owned(), |it| format!("{it:.0}"))
}

/// What was to be reached, beside what was.
pub(crate) fn goals(rows: &[Row]) {
    println!("\n{:58} {:>9} {:>9}", "goal", "at most", "measured");
    let goal = |what: &str, most: f64, measured: Option<f64>| {
        let word = measured.map_or("not measured", |it| if it <= most { "met" } else { "MISSED" });
        let measured = measured.map_or("?".to_owned(), |it| format!("{it:.3}"));
        println!("{what:58} {most:>9} {measured:>9}  {word}");
    };
    let added = |it: &Measured| it.percentile(99, added_ms);
    for names in [PLAIN, BUSY] {
        let light = find(rows, names.daemon);
        goal(&format!("{}, CPU, % of one core", names.daemon), 3.0, light.map(|it| 100.0 * it.cpu));
        for peer in [names.peer, names.frugal_peer] {
            let ratio = light.zip(find(rows, peer)).map(|(light, peer)| light.cpu / peer.cpu);
            goal(&format!("CPU against {peer} (1/8)"), 0.125, ratio);
        }
        goal("end of window to subscriber less inference, p99, ms", 100.0, light.and_then(added));
    }
    let shipped = find(rows, SHIPPED);
    goal("the same with the shipped network, p99, ms", 100.0, shipped.and_then(added));
    goal("resident memory with the shipped network, RSS, MB", 300.0, shipped.map(Measured::rss_mb));
    goal("the same with shared pages counted once, PSS, MB", 300.0, shipped.and_then(Measured::pss_mb));
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Measured> {
    rows.iter().find(|it| it.name == name).map(|it| &it.measured)
}

/// From the end of the window to the subscriber, without the network's part.
fn added_ms(reading: &Reading) -> f64 {
    reading.arrived_after_ms - reading.inference_ms
}

fn both(measured: &Measured, property: impl Fn(&Reading) -> f64) -> String {
    match (measured.percentile(50, &property), measured.percentile(99, &property)) {
        (Some(half), Some(most)) => format!("{half:.0}/{most:.0}"),
        _ => "-".to_owned(),
    }
}
