//! The status page: what `publish` knows anyway, for browsers, Prometheus and monitors.
//!
//! One thread with its own runtime serves it; the main thread only hands over what is new and never waits for a reader.
//! A reader that is too slow loses its event stream and starts again.

mod auth;
mod http;
mod text;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Semaphore, broadcast, oneshot},
    time::sleep,
};
use tracing::{info, warn};

use self::auth::Auth;
use super::{
    history::{CameraUpdate, History},
    metrics::Facts,
    payload::BoxFigures,
};
use crate::{
    config::Page as PageConfig,
    time::{Clock, Moment, Span},
    wire::{control::PublishConfig, record::Reading},
};

/// The number of event streams, which is the number of open pages.
pub(crate) const STREAMS_MAX: usize = 16;
/// The number of connections served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// How many events a reader may lag behind.
const EVENTS_MAX: usize = 1024;
/// From one status event to the next.
const STATUS_EVERY: Span = Span::from_ms(2000);
/// How long to wait before an address that could not be bound is tried again.
const BIND_RETRY: Duration = Duration::from_secs(5);

/// The running page.
#[derive(Debug)]
pub(crate) struct Page {
    shared: Arc<Shared>,
    address: SocketAddr,
    last_status: Option<Moment>,
    /// The thread ends when this is dropped.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the main thread and the page's thread share.
struct Shared {
    auth: Auth,
    facts: Facts,
    clock: Arc<dyn Clock>,
    history: Mutex<History>,
    events: broadcast::Sender<PageEvent>,
    streams: Arc<Semaphore>,
}

/// An event for the open pages.
#[derive(Clone, Debug)]
struct PageEvent {
    name: &'static str,
    json: Arc<str>,
}

impl PageEvent {
    fn new(name: &'static str, json: Vec<u8>) -> Self {
        // JSON is UTF-8, so nothing is lost.
        Self { name, json: String::from_utf8(json).unwrap_or_default().into() }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Shared {
    /// Locks the history. The main thread has to wait meanwhile, so copy what is needed and drop the guard.
    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock()
    }

    fn status(&self) -> PageEvent {
        let ((figures, cameras), problems) = {
            let history = self.history();
            (history.summary(), history.problems())
        };
        PageEvent::new("status", text::status(&self.facts, &figures, &cameras, &problems, self.clock.wall_ms()))
    }
}

impl Page {
    /// Starts to serve; `None` where the page is off. An address that cannot be bound now (another program uses it, or
    /// the network is not up yet) is a state: it is logged once and tried again.
    ///
    /// # Errors
    /// When the system provides no thread or no event queue, or the token is missing.
    pub(crate) fn open(config: &PublishConfig, clock: Arc<dyn Clock>) -> io::Result<Option<Self>> {
        let (address, auth) = match (&config.page, &config.page_token) {
            (PageConfig::Off, _) => return Ok(None),
            (PageConfig::Loopback(address), _) => (*address, Auth::Loopback),
            (PageConfig::Guarded { address, .. }, Some(token)) => (*address, Auth::token(token)),
            // No page is better than one without protection.
            (PageConfig::Guarded { .. }, None) => return Err(io::Error::other("the page's token is missing")),
        };
        let facts = Facts {
            box_name: config.box_name.clone(),
            model: config.model_name.clone(),
            boot: config.boot,
            hop_ms: config.hop_ms,
            min_group: config.min_group,
            started_ms: clock.wall_ms(),
        };
        let shared = Arc::new(Shared {
            auth,
            facts,
            clock,
            history: Mutex::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The first attempt is made here, so that a port chosen by the system is known.
        let listener = runtime.block_on(TcpListener::bind(address));
        let bound = listener.as_ref().ok().and_then(|listener| listener.local_addr().ok()).unwrap_or(address);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("page".into()).spawn({
            let shared = Arc::clone(&shared);
            move || serve(&runtime, address, listener, shared, stopped)
        })?;
        Ok(Some(Self { shared, address: bound, last_status: None, stop: Some(stop), thread: Some(thread) }))
    }

    /// Its address for a browser on this machine.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Adds a reading and sends it to the open pages.
    pub(crate) fn add_reading(&self, reading: &Reading) {
        let mut history = self.shared.history();
        let Some(camera) = history.add(reading) else { return };
        if self.has_readers() {
            // Sending fails only if the last page was closed meanwhile; the same below.
            self.shared
                .events
                .send(PageEvent::new("reading", text::reading(camera, reading, self.shared.facts.boot)))
                .ok();
        }
    }

    /// Updates the cameras and the box, and sends a status event if one is due.
    pub(crate) fn update<'a>(
        &mut self,
        updates: impl Iterator<Item = CameraUpdate<'a>>,
        figures: &BoxFigures,
        now: Moment,
    ) {
        self.shared.history().update(updates, figures);
        if self.has_readers() && self.last_status.is_none_or(|last| STATUS_EVERY <= now - last) {
            self.last_status = Some(now);
            self.shared.events.send(self.shared.status()).ok();
        }
    }

    fn has_readers(&self) -> bool {
        0 < self.shared.events.receiver_count()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.take();
        // The runtime only has to close its connections; a panic was reported by the panic hook.
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    runtime: &Runtime,
    address: SocketAddr,
    first: io::Result<TcpListener>,
    shared: Arc<Shared>,
    stopped: oneshot::Receiver<()>,
) {
    let work = async {
        let listener = listener(address, first).await;
        http::serve(listener, shared).await;
    };
    runtime.block_on(async {
        tokio::select! {
            () = work => (),
            _ = stopped => (),
        }
    });
}

/// Binds the address, and tries again until it succeeds.
async fn listener(address: SocketAddr, first: io::Result<TcpListener>) -> TcpListener {
    let mut bound = first;
    let mut logged = false;
    loop {
        match bound {
            Ok(listener) => {
                if logged {
                    info!(%address, "the status page is listening now");
                }
                return listener;
            }
            Err(err) if !logged => {
                warn!(%address, %err, "the status page cannot listen there; trying again. Check page.address and page.port");
                logged = true;
            }
            Err(_) => (),
        }
        sleep(BIND_RETRY).await;
        bound = TcpListener::bind(address).await;
    }
}
