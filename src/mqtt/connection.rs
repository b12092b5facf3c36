//! One connection to a broker, in MQTT 3.1.1 or 5.
//!
//! rumqttc has two sets of types with the same names, one for each version; this file makes them one.

use std::{net::Ipv6Addr, time::Duration};

use rumqttc::{
    NetworkOptions, Outgoing, SubscribeReasonCode, TlsConfiguration, Transport,
    mqttbytes::QoS,
    v5::{
        self,
        mqttbytes::{QoS as QoS5, v5 as packets5},
    },
};

use super::{
    TIMEOUT_S,
    failure::{self, Failure},
    tls::Tls,
};
use crate::config::{MqttVersion, Secret};

/// The size of rumqttc's table of unacknowledged messages; callers keep far fewer of them in flight.
const INFLIGHT_MAX: u16 = 64;

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// A name or an address; an IPv6 address without brackets.
    pub host: String,
    /// The broker's port.
    pub port: u16,
    /// 3.1.1 or 5.
    pub version: MqttVersion,
    /// Unique at the broker: it closes the older of two connections with the same id.
    pub client_id: String,
    /// User and password.
    pub login: Option<(String, Secret)>,
    /// `None` for a connection without encryption.
    pub tls: Option<Tls>,
    /// How often an idle connection is probed.
    pub keep_alive: Duration,
    /// What the broker publishes if the connection breaks.
    pub will: Option<Will>,
    /// A longer incoming packet ends the connection, bytes. Only for 3.1.1.
    pub incoming_bytes_max: usize,
    /// A longer outgoing packet ends the connection, bytes. Only for 3.1.1.
    pub outgoing_bytes_max: usize,
    /// MQTT 5: how long the broker keeps a message that is not retained, s; 0 for ever.
    pub expiry_s: u32,
}

/// The last will: retained, with QoS 1.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: &'static str,
}

/// A message from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The broker stored it before we subscribed.
    pub retained: bool,
}

/// An event on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The broker has accepted the connection.
    Connected,
    /// The oldest message given to [`Client::publish`] was sent with this packet id.
    Sent(u16),
    /// The broker has acknowledged that packet; with the reason if it refused the message, which only MQTT 5 can say.
    Acknowledged(u16, Option<String>),
    /// The broker has refused a subscription.
    SubscriptionRefused,
    /// A message for one of our subscriptions.
    Message(Message),
    /// Our DISCONNECT was sent.
    Disconnected,
    /// Anything that no caller needs.
    Other,
}

/// Takes messages and subscriptions for one connection.
#[derive(Debug)]
pub(crate) struct Client(ClientVersion);

#[derive(Debug)]
enum ClientVersion {
    V311(rumqttc::AsyncClient),
    V5 { client: v5::AsyncClient, expiry_s: u32 },
}

/// Does the network I/O of one connection.
pub(crate) struct EventLoop(EventLoopVersion);

enum EventLoopVersion {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// Prepares a connection; the first [`EventLoop::poll`] opens it. `capacity` requests fit in its queue.
#[must_use]
pub(crate) fn open(options: &Options, capacity: usize) -> (Client, EventLoop) {
    match options.version {
        MqttVersion::V311 => open_v311(options, capacity),
        MqttVersion::V5 => open_v5(options, capacity),
    }
}

fn open_v311(options: &Options, capacity: usize) -> (Client, EventLoop) {
    let mut settings = rumqttc::MqttOptions::new(&options.client_id, bracketed(&options.host), options.port);
    settings.set_keep_alive(options.keep_alive).set_inflight(INFLIGHT_MAX).set_transport(transport(&options.tls));
    settings.set_max_packet_size(options.incoming_bytes_max, options.outgoing_bytes_max);
    if let Some((user, password)) = &options.login {
        settings.set_credentials(user, password.reveal());
    }
    if let Some(will) = &options.will {
        settings.set_last_will(rumqttc::LastWill::new(&will.topic, will.payload, QoS::AtLeastOnce, true));
    }
    let (client, mut event_loop) = rumqttc::AsyncClient::new(settings, capacity);
    event_loop.set_network_options(network_options());
    (Client(ClientVersion::V311(client)), EventLoop(EventLoopVersion::V311(Box::new(event_loop))))
}

fn open_v5(options: &Options, capacity: usize) -> (Client, EventLoop) {
    let mut settings = v5::MqttOptions::new(&options.client_id, bracketed(&options.host), options.port);
    settings.set_keep_alive(options.keep_alive).set_transport(transport(&options.tls));
    settings.set_outgoing_inflight_upper_limit(INFLIGHT_MAX).set_connection_timeout(TIMEOUT_S);
    settings.set_network_options(network_options());
    if let Some((user, password)) = &options.login {
        settings.set_credentials(user, password.reveal());
    }
    if let Some(will) = &options.will {
        settings.set_last_will(packets5::LastWill::new(&will.topic, will.payload, QoS5::AtLeastOnce, true, None));
    }
    let (client, event_loop) = v5::AsyncClient::new(settings, capacity);
    let client = ClientVersion::V5 { client, expiry_s: options.expiry_s };
    (Client(client), EventLoop(EventLoopVersion::V5(Box::new(event_loop))))
}

/// An IPv6 address in brackets, because rumqttc appends the port with a colon.
fn bracketed(host: &str) -> String {
    let is_ipv6 = host.parse::<Ipv6Addr>().is_ok();
    if is_ipv6 { format!("[{host}]") } else { host.to_owned() }
}

fn transport(tls: &Option<Tls>) -> Transport {
    let encrypted = |tls: &Tls| Transport::tls_with_config(TlsConfiguration::Rustls(tls.clone()));
    tls.as_ref().map_or_else(Transport::tcp, encrypted)
}

/// Without Nagle's algorithm: it would delay a message until the previous one is acknowledged.
fn network_options() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(TIMEOUT_S);
    network
}

impl Client {
    /// Queues a message with QoS 1. False if the queue is full.
    pub(crate) fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        match &self.0 {
            ClientVersion::V311(client) => client.try_publish(topic, QoS::AtLeastOnce, retain, payload).is_ok(),
            ClientVersion::V5 { client, expiry_s } => {
                let expiry = (!retain && 0 < *expiry_s).then_some(*expiry_s);
                let properties = packets5::PublishProperties { message_expiry_interval: expiry, ..Default::default() };
                client.try_publish_with_properties(topic, QoS5::AtLeastOnce, retain, payload, properties).is_ok()
            }
        }
    }

    /// Queues a subscription with QoS 0. False if the queue is full.
    pub(crate) fn subscribe(&self, filter: &str) -> bool {
        match &self.0 {
            ClientVersion::V311(client) => client.try_subscribe(filter, QoS::AtMostOnce).is_ok(),
            ClientVersion::V5 { client, .. } => client.try_subscribe(filter, QoS5::AtMostOnce).is_ok(),
        }
    }

    /// Queues a DISCONNECT, after which the broker does not publish the last will. False if the queue is full.
    pub(crate) fn disconnect(&self) -> bool {
        match &self.0 {
            ClientVersion::V311(client) => client.try_disconnect().is_ok(),
            ClientVersion::V5 { client, .. } => client.try_disconnect().is_ok(),
        }
    }
}

impl EventLoop {
    /// Waits for the next event. Dropping the future before it is ready may leave a packet partly written, so a
    /// connection cannot be used after that.
    ///
    /// # Errors
    /// Why the connection ended or could not be opened; drop it then.
    pub(crate) async fn poll(&mut self) -> Result<Event, Failure> {
        match &mut self.0 {
            EventLoopVersion::V311(event_loop) => {
                event_loop.poll().await.map(from_v311).map_err(|err| failure::from_v311(&err))
            }
            EventLoopVersion::V5(event_loop) => {
                event_loop.poll().await.map(from_v5).map_err(|err| failure::from_v5(&err))
            }
        }
    }
}

fn from_v311(event: rumqttc::Event) -> Event {
    use rumqttc::{Event as Event311, Packet};
    match event {
        Event311::Incoming(Packet::ConnAck(_)) => Event::Connected,
        Event311::Incoming(Packet::PubAck(ack)) => Event::Acknowledged(ack.pkid, None),
        Event311::Incoming(Packet::SubAck(ack)) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
            Event::SubscriptionRefused
        }
        Event311::Incoming(Packet::Publish(message)) => {
            let (topic, payload, retained) = (message.topic, message.payload.into(), message.retain);
            Event::Message(Message { topic, payload, retained })
        }
        Event311::Outgoing(outgoing) => from_outgoing(&outgoing),
        Event311::Incoming(_) => Event::Other,
    }
}

fn from_v5(event: v5::Event) -> Event {
    use packets5::{Packet, PubAckReason, SubscribeReasonCode};
    match event {
        v5::Event::Incoming(Packet::ConnAck(_)) => Event::Connected,
        v5::Event::Incoming(Packet::PubAck(ack)) => {
            let accepted = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Event::Acknowledged(ack.pkid, (!accepted).then(|| format!("{:?}", ack.reason)))
        }
        v5::Event::Incoming(Packet::SubAck(ack))
            if ack.return_codes.iter().any(|code| !matches!(code, SubscribeReasonCode::Success(_))) =>
        {
            Event::SubscriptionRefused
        }
        v5::Event::Incoming(Packet::Publish(message)) => {
            // The specification wants UTF-8; a topic that is not matches none of ours.
            let topic = String::from_utf8_lossy(&message.topic).into_owned();
            Event::Message(Message { topic, payload: message.payload.into(), retained: message.retain })
        }
        v5::Event::Outgoing(outgoing) => from_outgoing(&outgoing),
        v5::Event::Incoming(_) => Event::Other,
    }
}

fn from_outgoing(outgoing: &Outgoing) -> Event {
    match outgoing {
        Outgoing::Publish(packet_id) => Event::Sent(*packet_id),
        Outgoing::Disconnect => Event::Disconnected,
        _ => Event::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv6_addresses_get_brackets() {
        for (host, expected) in [("fe80::1", "[fe80::1]"), ("10.0.0.7", "10.0.0.7"), ("broker.local", "broker.local")] {
            assert_eq!(bracketed(host), expected);
        }
    }
}
