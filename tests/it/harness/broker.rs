//! A private mosquitto, on a free port of 127.0.0.1, with its files in a temporary folder.
//!
//! ```ignore
//! let broker = Broker::start();                       // or Broker::with(Options { .. })
//! let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
//! let message = subscriber.wait_for("edge-ger/box/cam/reading", DEADLINE);
//! broker.kill(); broker.restart();                    // the same port, nothing remembered unless `persistence`
//! broker.stop(); broker.cont();                       // hangs, and goes on
//! ```
//!
//! [`Proxy`] is a door before a broker that can be closed: so a test can subscribe to a broker that came back
//! before the daemon finds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead as _, BufReader},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};
use edge_ger::time::{Clock as _, Moment, Span, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rumqttc::{Event, MqttOptions, Packet, QoS, TlsConfiguration, Transport};
use rustix::process::{Pid, Signal, kill_process};

/// Far more than anything here needs on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// How a broker is set up; by default for anybody, without encryption and without a memory.
#[derive(Default)]
pub(crate) struct Options {
    /// Only this user with this password.
    pub(crate) login: Option<(&'static str, &'static str)>,
    /// Encrypted, and only for clients with a certificate of the same authority.
    pub(crate) tls: Option<Pki>,
    /// Retained messages survive [`Broker::quit`] and [`Broker::restart`].
    pub(crate) persistence: bool,
    /// More lines for `mosquitto.conf`.
    pub(crate) extra: String,
}

/// A running broker. Dropping it kills it.
pub(crate) struct Broker {
    port: u16,
    options: Options,
    folder: tempfile::TempDir,
    process: Mutex<Option<Child>>,
    /// What it logged, of all its lives.
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Broker {
    /// An open broker.
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    /// A broker set up in this way.
    pub(crate) fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some((user, password)) = options.login {
            let file = folder.path().join("passwords");
            let made = Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(file).args([user, password]).status();
            assert!(made.unwrap().success(), "mosquitto_passwd");
        }
        if let Some(pki) = &options.tls {
            fs::write(folder.path().join("ca.pem"), &pki.ca_pem).unwrap();
            fs::write(folder.path().join("server.pem"), &pki.server_pem).unwrap();
            fs::write(folder.path().join("server.key"), &pki.server_key).unwrap();
        }
        let mut broker = Self { port: 0, options, folder, process: Mutex::new(None), log: Arc::default() };
        // Between finding a free port and mosquitto's taking it, another program may be faster.
        for _ in 0..20 {
            broker.port = free_port();
            if broker.launch() {
                return broker;
            }
        }
        panic!("mosquitto does not start: {:?}", broker.log.lines.lock().unwrap());
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Ends it in good order.
    pub(crate) fn quit(&self) {
        self.signal(Signal::TERM);
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.wait().unwrap();
        }
    }

    /// Starts it again on the same port; kills it first if it runs.
    pub(crate) fn restart(&self) {
        self.kill();
        assert!(self.launch(), "mosquitto does not start again: {:?}", self.log.lines.lock().unwrap());
    }

    /// Makes it hang: it keeps its connections and accepts bytes, but does nothing.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Makes it go on.
    pub(crate) fn cont(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until so many lines of its log hold `words`: what it wrote is here a little later.
    pub(crate) fn wait_logged(&self, words: &str, count: usize) {
        let too_few = |lines: &mut Vec<String>| lines.iter().filter(|it| it.contains(words)).count() < count;
        let lines = self.log.lines.lock().unwrap();
        let (lines, waited) = self.log.grown.wait_timeout_while(lines, DEADLINE, too_few).unwrap();
        assert!(!waited.timed_out(), "not {count} times '{words}': {lines:#?}");
    }

    /// How many lines of its log hold `words` by now.
    pub(crate) fn logged(&self, words: &str) -> usize {
        self.log.lines.lock().unwrap().iter().filter(|it| it.contains(words)).count()
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.lock().unwrap();
        let pid = i32::try_from(process.as_ref().expect("the broker runs").id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// False if it ended before it was ready.
    fn launch(&self) -> bool {
        let folder = self.folder.path();
        let config = folder.join("mosquitto.conf");
        fs::write(&config, self.config(folder)).unwrap();
        let mosquitto =
            ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().find(|it| Path::new(it).exists());
        let mut process = Command::new(mosquitto.unwrap_or("mosquitto"))
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto is installed");
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (ready, is_ready) = bounded(1);
        let log = Arc::clone(&self.log);
        let read = move || {
            for line in lines.map_while(Result::ok) {
                if line.contains(" running") {
                    ready.try_send(()).ok();
                }
                log.lines.lock().unwrap().push(line);
                log.grown.notify_all();
            }
        };
        thread::Builder::new().name("mosquitto's log".into()).spawn(read).unwrap();
        // The end of its log, when it could not start, disconnects the channel.
        let started = is_ready.recv_timeout(DEADLINE).is_ok();
        *self.process.lock().unwrap() = Some(process);
        if !started {
            self.kill();
        }
        started
    }

    fn config(&self, folder: &Path) -> String {
        let folder = folder.display();
        // As root it would otherwise become a user who may not read the folder.
        let mut config = format!("user root\nlistener {} 127.0.0.1\nlog_dest stderr\nlog_type all\n", self.port);
        config += &match self.options.login {
            Some(_) => format!("allow_anonymous false\npassword_file {folder}/passwords\n"),
            None => "allow_anonymous true\n".to_owned(),
        };
        if self.options.tls.is_some() {
            config += &format!("cafile {folder}/ca.pem\ncertfile {folder}/server.pem\nkeyfile {folder}/server.key\n");
            config += "require_certificate true\n";
        }
        if self.options.persistence {
            config += &format!("persistence true\npersistence_location {folder}/\n");
        }
        config + &self.options.extra
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// An authority, a certificate for the broker at 127.0.0.1 and localhost, and one for a client; all PEM.
#[derive(Clone)]
pub(crate) struct Pki {
    pub(crate) ca_pem: String,
    pub(crate) server_pem: String,
    pub(crate) server_key: String,
    pub(crate) client_pem: String,
    pub(crate) client_key: String,
}

impl Pki {
    /// A new authority: no two trust each other.
    pub(crate) fn new() -> Self {
        let mut authority = CertificateParams::default();
        // OpenSSL takes a certificate whose name is its issuer's for one that signed itself.
        authority.distinguished_name.push(DnType::CommonName, "edge-ger's tests");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let leaf = |names: &[&str], usage| {
            let names: Vec<_> = names.iter().map(|&it| it.to_owned()).collect();
            let mut params = CertificateParams::new(names.clone()).unwrap();
            params.distinguished_name.push(DnType::CommonName, names[0].as_str());
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem())
        };
        let (server_pem, server_key) = leaf(&["127.0.0.1", "localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        let (client_pem, client_key) = leaf(&["edge-ger"], ExtendedKeyUsagePurpose::ClientAuth);
        Self { ca_pem: authority.pem(), server_pem, server_key, client_pem, client_key }
    }
}

/// A message as a subscriber got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) text: String,
    /// It was there before the subscription.
    pub(crate) retained: bool,
    /// When it arrived.
    pub(crate) at: Moment,
}

/// Collects what a broker publishes, over MQTT 3.1.1, until its connection ends.
pub(crate) struct Subscriber {
    messages: Receiver<Message>,
    /// All that arrived and was looked at, in order.
    pub(crate) seen: Vec<Message>,
    client: rumqttc::Client,
}

impl Subscriber {
    /// Subscribes to `filter`; returns when the broker has confirmed it.
    pub(crate) fn to(broker: &Broker, filter: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let id = format!("subscriber-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut options = MqttOptions::new(id, "127.0.0.1", broker.port);
        if let Some((user, password)) = broker.options.login {
            options.set_credentials(user, password);
        }
        if let Some(pki) = &broker.options.tls {
            // rumqttc's own reading of certificates needs a provider for the whole process; another test's is as good.
            rustls::crypto::ring::default_provider().install_default().ok();
            options.set_transport(Transport::tls_with_config(TlsConfiguration::Simple {
                ca: pki.ca_pem.clone().into(),
                alpn: None,
                client_auth: Some((pki.client_pem.clone().into(), pki.client_key.clone().into())),
            }));
        }
        let (client, mut connection) = rumqttc::Client::new(options, 10);
        // At QoS 0 mosquitto writes a message to its subscribers before it acknowledges it to the publisher, so what
        // was acknowledged is seen here even when the broker is killed; at QoS 1 it would queue some in itself.
        client.subscribe(filter, QoS::AtMostOnce).unwrap();
        #[allow(clippy::disallowed_methods, reason = "a test may collect as much as it likes")]
        let (sender, messages) = unbounded();
        let (ready, is_ready) = bounded(1);
        let collect = move || {
            let take = |event| match event {
                Event::Incoming(Packet::SubAck(_)) => ready.send(()).unwrap(),
                Event::Incoming(Packet::Publish(it)) => {
                    let text = String::from_utf8(it.payload.to_vec()).unwrap();
                    let message = Message { topic: it.topic, text, retained: it.retain, at: SystemClock.now() };
                    // A test that has seen enough is no longer there.
                    sender.send(message).unwrap_or_default();
                }
                _ => (),
            };
            let end = loop {
                match connection.recv() {
                    Ok(Ok(event)) => take(event),
                    Ok(Err(err)) => break err.to_string(),
                    Err(_) => break "unsubscribed".to_owned(),
                }
            };
            // rumqttc reports the end before what it had read until then.
            connection.eventloop.state.events.drain(..).for_each(take);
            println!("the subscriber's connection ended: {end}");
        };
        thread::Builder::new().name("subscriber".into()).spawn(collect).unwrap();
        let confirmed = is_ready.recv_timeout(DEADLINE);
        assert!(confirmed.is_ok(), "no subscription: {:#?}", broker.log.lines.lock().unwrap());
        Self { messages, seen: Vec::new(), client }
    }

    /// Publishes something itself.
    pub(crate) fn publish(&self, topic: &str, text: &str, retain: bool) {
        self.client.publish(topic, QoS::AtMostOnce, retain, text).unwrap();
    }

    /// The next message, if one comes in time.
    pub(crate) fn next(&mut self, deadline: Duration) -> Option<Message> {
        let message = self.messages.recv_timeout(deadline).ok()?;
        self.seen.push(message.clone());
        Some(message)
    }

    /// Takes all that still comes until the broker, which was killed or stopped, has ended the connection.
    pub(crate) fn drain(&mut self) {
        loop {
            match self.messages.recv_timeout(DEADLINE) {
                Ok(message) => self.seen.push(message),
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("the connection does not end"),
            }
        }
    }

    /// Waits for a message on this topic, the ones before it are passed over.
    pub(crate) fn wait_for(&mut self, topic: &str, deadline: Duration) -> Message {
        self.wait_until(deadline, |it| it.topic == topic)
    }

    /// A message like this: one that was seen already, or else the first to come.
    pub(crate) fn find(&mut self, deadline: Duration, is_it: impl Fn(&Message) -> bool) -> Message {
        match self.seen.iter().find(|it| is_it(it)) {
            Some(message) => message.clone(),
            None => self.wait_until(deadline, is_it),
        }
    }

    /// Waits for a message like this, the ones before it are passed over.
    pub(crate) fn wait_until(&mut self, deadline: Duration, is_it: impl Fn(&Message) -> bool) -> Message {
        let until = SystemClock.now() + Span::from(deadline);
        loop {
            match self.messages.recv_timeout(until.after(SystemClock.now())) {
                Ok(message) => {
                    self.seen.push(message.clone());
                    if is_it(&message) {
                        return message;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no such message in {deadline:?}; seen: {:#?}", self.seen),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the subscriber's connection ended; seen: {:#?}", self.seen)
                }
            }
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.client.try_disconnect().ok();
    }
}

/// What a broker holds: the retained messages by their topics.
pub(crate) fn retained(broker: &Broker) -> BTreeMap<String, String> {
    let mut subscriber = Subscriber::to(broker, "#");
    // What is retained is sent for the subscription, and so before anything that is published after it.
    subscriber.publish("the/end", "", false);
    subscriber.wait_for("the/end", DEADLINE);
    let held = subscriber.seen.iter().filter(|it| it.retained);
    held.map(|it| (it.topic.clone(), it.text.clone())).collect()
}

/// A door before a broker. It begins closed: who knocks is turned away.
pub(crate) struct Proxy {
    port: u16,
    is_open: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    callers: Receiver<()>,
}

impl Proxy {
    /// A closed door to this port of 127.0.0.1.
    pub(crate) fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_open = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::<TcpStream>::new()));
        let (knock, callers) = bounded(1000);
        let accept = {
            let (is_open, streams) = (Arc::clone(&is_open), Arc::clone(&streams));
            move || {
                for near in listener.incoming().map_while(Result::ok) {
                    knock.try_send(()).ok();
                    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, target))
                        .ok()
                        .filter(|_| is_open.load(Ordering::SeqCst));
                    let Some(far) = far else { continue };
                    streams.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
                    pump(near.try_clone().unwrap(), far.try_clone().unwrap());
                    pump(far, near);
                }
            }
        };
        // It waits for callers until the test process ends.
        thread::Builder::new().name("proxy".into()).spawn(accept).unwrap();
        Self { port, is_open, streams, callers }
    }

    /// The port of 127.0.0.1 to connect to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Waits for so many more callers, let in or not.
    pub(crate) fn wait_for_callers(&self, count: usize) {
        (0..count).for_each(|_| self.callers.recv_timeout(DEADLINE).expect("a caller"));
    }

    /// Lets callers in from now on.
    pub(crate) fn open(&self) {
        self.is_open.store(true, Ordering::SeqCst);
    }

    /// Turns callers away and cuts those that are in.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::SeqCst);
        for stream in self.streams.lock().unwrap().drain(..) {
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let copy = move || {
        io::copy(&mut from, &mut to).ok();
        to.shutdown(Shutdown::Both).ok();
        from.shutdown(Shutdown::Both).ok();
    };
    thread::Builder::new().name("pump".into()).spawn(copy).unwrap();
}

/// Writes the client's part of a [`Pki`] into files, as a configuration names them: authority, certificate, key.
#[allow(dead_code, reason = "for tests of the whole daemon")]
pub(crate) fn write_client(pki: &Pki, folder: &Path) -> [PathBuf; 3] {
    let parts = [("ca.pem", &pki.ca_pem), ("client.pem", &pki.client_pem), ("client.key", &pki.client_key)];
    parts.map(|(name, pem)| {
        let file = folder.join(name);
        fs::write(&file, pem).unwrap();
        file
    })
}
