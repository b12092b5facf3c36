//! The status page of the whole daemon.

use std::{
    net::{SocketAddr, TcpStream},
    time::Instant,
};

use rustix::process::Signal;

use super::*;
use crate::it::harness::{broker::free_port, http::get};

#[test]
fn the_page_is_off_until_it_is_wanted_and_then_follows_the_daemon() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let port = address.port();
    let folder = hall(&of(&camera), &format!("[page]\nport = {port}"), &broker);
    let changed = folder.path().join("cameras/hall.toml");
    let mut daemon = Daemon::start(folder, &[], &[]);
    labelled(&mut subscriber, "hall");
    assert!(TcpStream::connect(address).is_err(), "something listens");
    assert!(!daemon.said().contains("page http"), "{}", daemon.said());

    let on = format!("[page]\naddress = \"loopback\"\nport = {port}");
    std::fs::write(&changed, file(&of(&camera), &on, broker.port())).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_log(&format!("page http://{address}/"), DEADLINE);
    labelled(&mut subscriber, "hall");
    let deadline = Instant::now() + DEADLINE;
    while get(address, "/healthz", &[]).status != 200 {
        // Every reading is a reason to look again.
        labelled(&mut subscriber, "hall");
        assert!(Instant::now() < deadline, "{}", get(address, "/healthz", &[]).text);
    }
    let metrics = get(address, "/metrics", &[]).text;
    for line in
        ["edge_ger_camera_online{camera=\"hall\"} 1\n", "edge_ger_provider_info{camera=\"hall\",provider=\"cpu\"} 1\n"]
    {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    let status = get(address, "/api/status", &[]).json();
    assert_eq!(status["box"], "box");
    let counts = ["positive", "neutral", "negative"].map(|it| status["cameras"][0][it].as_u64().unwrap());
    assert!(0 < counts.iter().sum::<u64>(), "{status}");
    stop(daemon);
}

#[test]
fn an_open_page_without_a_token_is_refused_at_once() {
    let text = file("url = \"rtsp://127.0.0.1/none\"", "[page]\naddress = \"0.0.0.0\"", 1883);
    let mut daemon = Daemon::start(folder(&[("hall.toml", &text)]), &[], &[]);
    assert_eq!(daemon.wait_exit(DEADLINE), 78);
    let said = daemon.said();
    assert!(said.contains("page.address: others could read the page") && said.contains("hall.toml:"), "{said}");
}
