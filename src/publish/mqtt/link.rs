//! One connection to the broker, in MQTT 3.1.1 or 5. The only home of rumqttc.
//!
//! rumqttc has two sets of types with the same names, one for each version; this file makes them one.

use std::{fmt::Write as _, fs, io, sync::Arc, time::Duration};

use rumqttc::{
    Transport,
    mqttbytes::QoS,
    v5::{self, mqttbytes::v5 as packets5},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::{
    config::{Discovery, Mqtt, MqttVersion, Secret},
    publish::discovery::{BIRTH, BIRTH_TOPIC, MESSAGE_BYTES_MAX},
    wire::control::MqttSecrets,
};

/// An answer to a connection request or room in a socket is waited for so long, s.
const PATIENCE_S: u64 = 5;
/// rumqttc keeps a table of this size for messages under way; far more than [`super::Flight`] ever has.
const PACKETS_MAX: u16 = 64;
/// Nothing longer is taken from the broker, bytes: all that it has to say to us is acknowledgements and one word.
const INCOMING_BYTES_MAX: usize = 10 << 10;
/// Room for a topic and the head of a message, bytes.
const TOPIC_BYTES_MAX: usize = 1 << 10;
/// Where distributions keep the certificates of public authorities: Debian and Ubuntu (a Jetson's too), Fedora,
/// OpenSUSE, Alpine.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `mqtt.tls_ca_file` or the system's bundle.
    #[error(
        "mqtt.tls_ca_file: no usable certificate in it; a PEM file of the authority that signed the broker's is needed"
    )]
    Authority,
    /// There is no bundle on this system.
    #[error("no certificates of public authorities on this system; install ca-certificates, or set mqtt.tls_ca_file")]
    NoSystem,
    /// `mqtt.tls_certificate_file`.
    #[error("mqtt.tls_certificate_file: not a PEM certificate")]
    Certificate,
    /// `mqtt.tls_key_file`. The reason is left out: it could show a part of the key.
    #[error("mqtt.tls_key_file: not a PEM key")]
    Key,
    /// The two do not belong together, or a kind of key that ring does not know.
    #[error("mqtt.tls_certificate_file and mqtt.tls_key_file cannot be used together: {0}")]
    Pair(rustls::Error),
    /// rustls and its provider do not agree on a version of TLS.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

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
    tls: Option<Arc<ClientConfig>>,
    keep_alive: Duration,
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
            host: mqtt.host.clone(),
            port: mqtt.port,
            version: mqtt.version,
            client_id: format!("{}-{box_name}", mqtt.topic_prefix.replace('/', "-")),
            login: mqtt.user.clone().map(|user| (user, password)),
            tls: mqtt.tls.as_ref().map(|_| client_config(secrets)).transpose()?,
            keep_alive: Duration::from_secs(u64::from(mqtt.keep_alive_s.max(1))),
            will_topic,
            will_text,
            hears_birth: mqtt.discovery != Discovery::Off,
        })
    }

    /// A literal IPv6 address goes into brackets, because the port is put behind it with a colon.
    fn address(&self) -> String {
        let is_ipv6 = self.host.parse::<std::net::Ipv6Addr>().is_ok();
        if is_ipv6 { format!("[{}]", self.host) } else { self.host.clone() }
    }

    fn transport(&self) -> Transport {
        self.tls
            .clone()
            .map_or_else(Transport::tcp, |tls| Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(tls)))
    }
}

fn client_config(secrets: &MqttSecrets) -> Result<Arc<ClientConfig>, TlsError> {
    let authorities = match &secrets.ca_pem {
        Some(pem) => authorities(pem.as_bytes()).ok_or(TlsError::Authority)?,
        None => system_authorities()?,
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_root_certificates(authorities);
    let config = match &secrets.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let chain = chain.ok().filter(|it| !it.is_empty()).ok_or(TlsError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_hidden| TlsError::Key)?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Pair)?
        }
    };
    Ok(Arc::new(config))
}

/// One bad certificate among the system's hundreds must not put the others out of use, so it is passed over.
fn authorities(pem: &[u8]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _ignored) = store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    (0 < added).then_some(store)
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    SYSTEM_AUTHORITIES.iter().find_map(|file| authorities(&fs::read(file).ok()?)).ok_or(TlsError::NoSystem)
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

/// Why a connection ended, or did not come about.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: FailureKind,
    pub(super) text: String,
}

/// What can be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Wait: the broker is away.
    Away,
    /// Somebody must correct the user, the password or the broker's list of users.
    Unauthorised,
    /// Somebody must correct a certificate.
    Certificate,
}

/// The end that messages are put into.
pub(super) enum Sender {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
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

/// Without Nagle's delay: it would hold a reading back until the one before is acknowledged.
fn network_options() -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(PATIENCE_S);
    network
}

fn open_v311(settings: &Settings, capacity: usize) -> (Sender, Poller) {
    let mut options = rumqttc::MqttOptions::new(&settings.client_id, settings.address(), settings.port);
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
    let mut options = v5::MqttOptions::new(&settings.client_id, settings.address(), settings.port);
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
    (Sender::V5(client), Poller::V5(Box::new(poller)))
}

const QOS: QoS = QoS::AtLeastOnce;

impl Sender {
    /// Puts a message in, at QoS 1. False if there is no room, which the caller's window rules out.
    pub(super) fn publish(&self, topic: &str, retain: bool, payload: Vec<u8>) -> bool {
        match self {
            Self::V311(client) => client.try_publish(topic, QOS, retain, payload).is_ok(),
            Self::V5(client) => client.try_publish(topic, v5::mqttbytes::QoS::AtLeastOnce, retain, payload).is_ok(),
        }
    }

    /// Asks for Home Assistant's birth messages from now on. It is sent after what was put in before. False if there
    /// is no room, which the caller's window rules out.
    pub(super) fn hear_birth(&self) -> bool {
        match self {
            Self::V311(client) => client.try_subscribe(BIRTH_TOPIC, QoS::AtMostOnce).is_ok(),
            Self::V5(client) => client.try_subscribe(BIRTH_TOPIC, v5::mqttbytes::QoS::AtMostOnce).is_ok(),
        }
    }

    /// Ends the connection in good order, so that the broker does not publish the last will.
    pub(super) fn disconnect(&self) -> bool {
        match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Poller {
    /// Waits for the next thing to happen. After a failure the connection is over and this must be dropped.
    /// Dropping the future in the middle may leave bytes in a buffer, so that is for the very end only.
    pub(super) async fn poll(&mut self) -> Result<Happening, Failure> {
        match self {
            Self::V311(poller) => poller.poll().await.map(from_v311).map_err(failure_v311),
            Self::V5(poller) => poller.poll().await.map(from_v5).map_err(failure_v5),
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

fn failure_v311(err: rumqttc::ConnectionError) -> Failure {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError as Error};
    match &err {
        Error::ConnectionRefused(code @ (Code::BadUserNamePassword | Code::NotAuthorized)) => unauthorised(code),
        Error::NetworkTimeout | Error::FlushTimeout => no_answer(),
        Error::Io(err) => away(err.to_string()),
        Error::Tls(err) => tls(err),
        err => away(chain(err)),
    }
}

fn failure_v5(err: v5::ConnectionError) -> Failure {
    use packets5::ConnectReturnCode as Code;
    use v5::ConnectionError as Error;
    match &err {
        Error::ConnectionRefused(
            code @ (Code::BadUserNamePassword | Code::NotAuthorized | Code::Banned | Code::BadAuthenticationMethod),
        ) => unauthorised(code),
        Error::Timeout(_) => no_answer(),
        Error::Io(err) => away(err.to_string()),
        Error::Tls(err) => tls(err),
        err => away(chain(err)),
    }
}

fn unauthorised(code: &impl std::fmt::Debug) -> Failure {
    Failure { kind: FailureKind::Unauthorised, text: format!("{code:?}") }
}

fn no_answer() -> Failure {
    away(format!("no answer within {PATIENCE_S} s"))
}

/// With TLS 1.3 a broker that does not like our certificate says so only after the handshake, as an alert in place
/// of its answer, which rumqttc passes on as words.
fn away(text: String) -> Failure {
    let kind = if text.contains("fatal alert") { FailureKind::Certificate } else { FailureKind::Away };
    Failure { kind, text }
}

/// A handshake that failed because the other side went away is an outage; anything else is about certificates.
fn tls(err: &rumqttc::TlsError) -> Failure {
    let kind = match err {
        rumqttc::TlsError::Io(err) if err.kind() != io::ErrorKind::InvalidData => FailureKind::Away,
        _ => FailureKind::Certificate,
    };
    Failure { kind, text: chain(err) }
}

/// An error with its causes that are not part of its own text yet.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        let words = err.to_string();
        if !text.contains(&words) {
            write!(text, ": {words}").ok();
        }
        cause = err.source();
    }
    text
}
