//! An MQTT broker inside the demo's own process, so that nothing else need be installed or running.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    thread,
};

use rumqttd::{
    Broker, Config, ConnectionSettings, Notification, RouterConfig, ServerSettings,
    local::{LinkError, LinkRx},
};

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No port, or no thread.
    #[error("cannot start the demo's broker")]
    Io(#[from] std::io::Error),
    /// The broker's own subscriber could not be attached.
    #[error("cannot subscribe at the demo's broker: {0}")]
    Link(String),
}

/// Where the broker listens, and a subscriber to everything that arrives there.
pub(crate) struct Subscriber {
    /// The broker's port on loopback; MQTT 5.
    pub port: u16,
    link: LinkRx,
}

/// Starts a broker on a free port of loopback and subscribes to `filter`.
///
/// # Errors
/// When there is no port or no thread to be had.
pub(crate) fn start(filter: &str) -> Result<Subscriber, Error> {
    // The broker binds its port itself, so a free one is found first; loopback ports are plentiful.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let connections = ConnectionSettings {
        connection_timeout_ms: 5000,
        max_payload_size: 20_480,
        max_inflight_count: 100,
        auth: None,
        external_auth: None,
        dynamic_filters: false,
    };
    let server = ServerSettings {
        name: "demo-broker".into(),
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 200,
        max_segment_size: 1 << 20,
        max_segment_count: 10,
        ..RouterConfig::default()
    };
    let v5 = Some(HashMap::from([(server.name.clone(), server)]));
    let mut broker = Broker::new(Config { router, v5, ..Config::default() });
    let refused = |err: LinkError| Error::Link(err.to_string());
    let (mut sender, link) = broker.link("demo-subscriber").map_err(refused)?;
    let run = move || {
        if let Err(err) = broker.start() {
            tracing::error!(%err, "the demo's broker ended");
        }
    };
    thread::Builder::new().name("demo-broker".into()).spawn(run)?;
    sender.subscribe(filter).map_err(refused)?;
    Ok(Subscriber { port, link })
}

impl Subscriber {
    /// Waits for the next message: its topic and its payload. `None` when the broker is gone.
    pub(crate) fn wait(&mut self) -> Option<(String, Vec<u8>)> {
        loop {
            if let Some(Notification::Forward(forward)) = self.link.recv().ok()? {
                let topic = String::from_utf8_lossy(&forward.publish.topic).into_owned();
                return Some((topic, forward.publish.payload.to_vec()));
            }
        }
    }
}
