//! One connection to the broker, in MQTT 3.1.1 or 5.
//!
//! rumqttc has two sets of types with the same names, one for each version; this file makes them one.

use std::time::Duration;

use super::{
    PATIENCE_S,
    failure::{self, Failure},
    tls::{self, Tls, TlsError},
};
use crate::{
    config::{Discovery, Mqtt, MqttVersion, Secret},
    publish::discovery::{BIRTH, BIRTH_TOPIC, MESSAGE_BYTES_MAX},
    wire::control::MqttSecrets,
};
use rumqttc::{
    Transport,
    mqttbytes::QoS,
    v5::{self, mqttbytes::v5 as packets5},
};

/// rumqttc keeps a table of this size for messages under way; far more than [`super::Flight`] ever has.
const PACKETS_MAX: u16 = 64;
/// Nothing longer is taken from the broker, bytes: all that it has to say to us is acknowledgements and one word.
const INCOMING_BYTES_MAX: usize = 10 << 10;
/// Room for a topic and the head of a message, bytes.
const TOPIC_BYTES_MAX: usize = 1 << 10;
/// What every connection of this room is opened with.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) host: String,
    pub(super) port: u16,
    version: MqttVersion,
    /// The same in every connection: a broker then ends our old connection, with its last will, before it lets the
    /// new one in, so that an old `offline` never comes after a new `online`.
    client_id: String,
    login: Option<(String, Secret)>,
    tls: Option<Tls>,
    keep_alive: Duration,
    /// MQTT 5: for how long the broker keeps what is not retained, s; 0 is for ever.
    expiry_s: u32,
    will_topic: String,
    will_text: &'static str,
    /// Whether to listen for Home Assistant's beginning. There is nothing else that we listen to.
    pub(super) hears_birth: bool,
}

impl Settings {
    pub(super) fn new(
        mqtt: &Mqtt,
        secrets: &MqttSecrets,
        box_name: &str,
        will: (String, &'static str),
    ) -> Result<Self, TlsError> {
        let password = secrets.password.clone().unwrap_or_else(|| Secret::new(String::new()));
        let (will_topic, will_text) = will;
        Ok(Self {
            host: address(&mqtt.host),
            port: mqtt.port,
            version: mqtt.version,
            client_id: format!("{}-{box_name}", mqtt.topic_prefix.replace('/', "-")),
            login: mqtt.user.clone().map(|user| (user, password)),
            tls: mqtt.tls.as_ref().map(|_| tls::client_config(secrets)).transpose()?,
            keep_alive: Duration::from_secs(u64::from(mqtt.keep_alive_s.max(1))),
            expiry_s: mqtt.expiry_s,
            will_topic,
            will_text,
            hears_birth: mqtt.discovery != Discovery::Off,
        })
    }

    fn transport(&self) -> Transport {
        transport(self.tls.clone())
    }
}

/// What happened on a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The broker has let us in.
    Connected,
    /// The oldest message that was given to [`Sender::publish`] left, under this packet number.
    Sent(u16),
    /// The broker has answered for that packet: with why it does not want it, if it does not.
    Acknowledged(u16, Option<String>),
    /// Home Assistant has said that it has begun.
    HomeAssistantBegan,
    /// Our goodbye left.
    SaidGoodbye,
    /// Nothing that matters here.
    Other,
}

/// The end that messages are put into.
pub(super) enum Sender {
    V311(rumqttc::AsyncClient),
    V5 { client: v5::AsyncClient, expiry_s: u32 },
}

/// The end that moves the bytes.
pub(super) enum Poller {
    V311(Box<rumqttc::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// A new connection, which the first [`Poller::poll`] opens.
pub(super) fn open(settings: &Settings, capacity: usize) -> (Sender, Poller) {
    match settings.version {
        MqttVersion::V311 => open_v311(settings, capacity),
        MqttVersion::V5 => open_v5(settings, capacity),
    }
}

/// A literal IPv6 address goes into brackets, because the port is put behind it with a colon.
pub(crate) fn address(host: &str) -> String {
    let is_ipv6 = host.parse::<std::net::Ipv6Addr>().is_ok();
    if is_ipv6 { format!("[{host}]") } else { host.to_owned() }
}

/// In the clear, or encrypted.
pub(crate) fn transport(tls: Option<Tls>) -> Transport {
    tls.map_or_else(Transport::tcp, |tls| Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(tls)))
}

/// Without Nagle's delay: it would hold a reading back until the one before is acknowledged.
pub(crate) fn network_options() -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(PATIENCE_S);
    network
}

fn open_v311(settings: &Settings, capacity: usize) -> (Sender, Poller) {
    let mut options = rumqttc::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive).set_inflight(PACKETS_MAX).set_transport(settings.transport());
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal());
    }
    options.set_last_will(rumqttc::LastWill::new(&settings.will_topic, settings.will_text, QOS, true));
    // A message over the limit would end every connection anew; the default is 10 KiB both ways.
    options.set_max_packet_size(INCOMING_BYTES_MAX, MESSAGE_BYTES_MAX + TOPIC_BYTES_MAX);
    let (client, mut poller) = rumqttc::AsyncClient::new(options, capacity);
    poller.set_network_options(network_options());
    (Sender::V311(client), Poller::V311(Box::new(poller)))
}

fn open_v5(settings: &Settings, capacity: usize) -> (Sender, Poller) {
    let mut options = v5::MqttOptions::new(&settings.client_id, &settings.host, settings.port);
    options.set_keep_alive(settings.keep_alive).set_transport(settings.transport());
    options.set_outgoing_inflight_upper_limit(PACKETS_MAX).set_connection_timeout(PATIENCE_S);
    options.set_network_options(network_options());
    if let Some((user, password)) = &settings.login {
        options.set_credentials(user, password.reveal());
    }
    let will =
        packets5::LastWill::new(&settings.will_topic, settings.will_text, v5::mqttbytes::QoS::AtLeastOnce, true, None);
    options.set_last_will(will);
    let (client, poller) = v5::AsyncClient::new(options, capacity);
    (Sender::V5 { client, expiry_s: settings.expiry_s }, Poller::V5(Box::new(poller)))
}

const QOS: QoS = QoS::AtLeastOnce;

impl Sender {
    /// Puts a message in, at QoS 1. False if there is no room, which the caller's window rules out.
    pub(super) fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        match self {
            Self::V311(client) => client.try_publish(topic, QOS, retain, payload).is_ok(),
            Self::V5 { client, expiry_s } => {
                // The age of a reading that waited in the outbox is not taken off: whoever listens shall have it, however
                // late it is. What this ends is its waiting at the broker, for those who do not listen.
                let expiry = (!retain && 0 < *expiry_s).then_some(*expiry_s);
                let properties = packets5::PublishProperties { message_expiry_interval: expiry, ..Default::default() };
                let qos = v5::mqttbytes::QoS::AtLeastOnce;
                client.try_publish_with_properties(topic, qos, retain, payload, properties).is_ok()
            }
        }
    }

    /// Asks for Home Assistant's birth messages from now on. It is sent after what was put in before. False if there
    /// is no room, which the caller's window rules out.
    pub(super) fn hear_birth(&self) -> bool {
        match self {
            Self::V311(client) => client.try_subscribe(BIRTH_TOPIC, QoS::AtMostOnce).is_ok(),
            Self::V5 { client, .. } => client.try_subscribe(BIRTH_TOPIC, v5::mqttbytes::QoS::AtMostOnce).is_ok(),
        }
    }

    /// Ends the connection in good order, so that the broker does not publish the last will.
    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5 { client, .. } => client.try_disconnect().is_ok(),
        }
    }
}

impl Poller {
    /// Waits for the next thing to happen. After a failure the connection is over and this must be dropped.
    /// Dropping the future in the middle may leave bytes in a buffer, so that is for the very end only.
    pub(super) async fn poll(&mut self) -> Result<Happening, Failure> {
        match self {
            Self::V311(poller) => poller.poll().await.map(from_v311).map_err(|err| failure::of_v311(&err)),
            Self::V5(poller) => poller.poll().await.map(from_v5).map_err(|err| failure::of_v5(&err)),
        }
    }
}

fn from_v311(event: rumqttc::Event) -> Happening {
    use rumqttc::{Event, Outgoing, Packet};
    match event {
        Event::Incoming(Packet::ConnAck(_)) => Happening::Connected,
        Event::Incoming(Packet::PubAck(ack)) => Happening::Acknowledged(ack.pkid, None),
        Event::Incoming(Packet::Publish(it)) => heard(it.topic.as_bytes(), &it.payload, it.retain),
        Event::Outgoing(Outgoing::Publish(packet)) => Happening::Sent(packet),
        Event::Outgoing(Outgoing::Disconnect) => Happening::SaidGoodbye,
        _ => Happening::Other,
    }
}

fn from_v5(event: v5::Event) -> Happening {
    use packets5::{Packet, PubAckReason};
    use rumqttc::Outgoing;
    match event {
        v5::Event::Incoming(Packet::ConnAck(_)) => Happening::Connected,
        v5::Event::Incoming(Packet::PubAck(ack)) => {
            let accepted = matches!(ack.reason, PubAckReason::Success | PubAckReason::NoMatchingSubscribers);
            Happening::Acknowledged(ack.pkid, (!accepted).then(|| format!("{:?}", ack.reason)))
        }
        v5::Event::Incoming(Packet::Publish(it)) => heard(&it.topic, &it.payload, it.retain),
        v5::Event::Outgoing(Outgoing::Publish(packet)) => Happening::Sent(packet),
        v5::Event::Outgoing(Outgoing::Disconnect) => Happening::SaidGoodbye,
        _ => Happening::Other,
    }
}

/// A birth that is retained happened before this connection, which has told everything anyway.
fn heard(topic: &[u8], payload: &[u8], retained: bool) -> Happening {
    let is_birth = topic == BIRTH_TOPIC.as_bytes() && payload == BIRTH && !retained;
    if is_birth { Happening::HomeAssistantBegan } else { Happening::Other }
}
