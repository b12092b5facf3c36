//! The status page: what `publish` knows anyway, for browsers, Prometheus and monitors.
//!
//! One thread with a runtime of its own serves it; the room only leaves there what is new, and never waits for
//! anybody who reads. Whoever reads too slowly loses the stream, and begins again.

mod auth;
mod http;
mod text;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{Semaphore, broadcast, oneshot},
    time::sleep,
};
use tracing::{info, warn};

use self::auth::Door;
use super::{
    history::{History, Seen},
    metrics::Facts,
    payload::Figures,
};
use crate::{
    config,
    time::{Clock, Moment, Span},
    wire::{control::PublishConfig, record::Reading},
};

/// So many pages may be open and live at once.
pub const STREAMS_MAX: usize = 16;
/// So many connections are served at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;
/// So many events may lie between the room and a reader.
const EVENTS_MAX: usize = 1024;
/// From one status to the next, for pages that are open.
const STATUS_EVERY: Span = Span::from_ms(2000);
/// From one try of an address that cannot be had to the next.
const AGAIN: Duration = Duration::from_secs(5);

/// The running page.
#[derive(Debug)]
pub struct Page {
    shared: Arc<Shared>,
    address: SocketAddr,
    told: Option<Moment>,
    /// The thread ends when this is dropped.
    alive: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the room and the page's thread share.
struct Shared {
    door: Door,
    facts: Facts,
    clock: Arc<dyn Clock>,
    chronicle: Mutex<History>,
    news: broadcast::Sender<News>,
    streams: Arc<Semaphore>,
}

/// An event for the pages that are open.
#[derive(Clone, Debug)]
struct News {
    kind: &'static str,
    text: Arc<str>,
}

impl News {
    fn new(kind: &'static str, text: Vec<u8>) -> Self {
        // JSON is UTF-8, so nothing is lost.
        Self { kind, text: String::from_utf8(text).unwrap_or_default().into() }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Shared {
    /// Whoever holds it keeps the room waiting: take a copy and let go.
    fn chronicle(&self) -> MutexGuard<'_, History> {
        self.chronicle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> News {
        let ((figures, cameras), troubles) = {
            let chronicle = self.chronicle();
            (chronicle.now(), chronicle.troubles())
        };
        News::new("status", text::status(&self.facts, &figures, &cameras, &troubles, self.clock.wall_ms()))
    }
}

impl Page {
    /// Begins to serve; `None` where the page is off. An address that cannot be had now (another program uses it, or
    /// the network is not up yet) is a state: it is logged once and tried again.
    ///
    /// # Errors
    /// When the system gives no thread or no event queue, or a token is wanted and was not handed over.
    pub fn open(begin: &PublishConfig, clock: Arc<dyn Clock>) -> io::Result<Option<Self>> {
        let (address, door) = match (&begin.page, &begin.page_token) {
            (config::Page::Off, _) => return Ok(None),
            (config::Page::Loopback(address), _) => (*address, Door::Loopback),
            (config::Page::Guarded { address, .. }, Some(token)) => (*address, Door::guarded(token)),
            // Rather no page than one that is open to all.
            (config::Page::Guarded { .. }, None) => return Err(io::Error::other("the page's token is missing")),
        };
        let facts = Facts {
            box_name: begin.box_name.clone(),
            model: begin.model_name.clone(),
            boot: begin.boot,
            hop_ms: begin.hop_ms,
            min_group: begin.min_group,
            started_ms: clock.wall_ms(),
        };
        let shared = Arc::new(Shared {
            door,
            facts,
            clock,
            chronicle: Mutex::default(),
            news: broadcast::Sender::new(EVENTS_MAX),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The first try is made here, so that a port chosen by the system is known.
        let listener = runtime.block_on(TcpListener::bind(address));
        let bound = listener.as_ref().ok().and_then(|it| it.local_addr().ok()).unwrap_or(address);
        let (alive, over) = oneshot::channel();
        let thread = thread::Builder::new().name("page".into()).spawn({
            let shared = Arc::clone(&shared);
            move || serve(&runtime, address, listener, shared, over)
        })?;
        Ok(Some(Self { shared, address: bound, told: None, alive: Some(alive), thread: Some(thread) }))
    }

    /// Where a browser on this machine finds it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Takes a reading in, and shows it to whoever looks.
    pub fn reading(&self, reading: &Reading) {
        let mut chronicle = self.shared.chronicle();
        let Some(camera) = chronicle.read(reading) else { return };
        if self.is_looked_at() {
            // Nobody may be there any more; the same below.
            self.shared.news.send(News::new("reading", text::reading(camera, reading, self.shared.facts.boot))).ok();
        }
    }

    /// Takes in how the cameras and the room are.
    pub fn look<'a>(&mut self, seen: impl Iterator<Item = Seen<'a>>, figures: &Figures, now: Moment) {
        self.shared.chronicle().look(seen, figures);
        if self.is_looked_at() && self.told.is_none_or(|told| STATUS_EVERY <= now - told) {
            self.told = Some(now);
            self.shared.news.send(self.shared.status()).ok();
        }
    }

    fn is_looked_at(&self) -> bool {
        0 < self.shared.news.receiver_count()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.alive.take();
        // It only waits for the runtime to let go of its connections; a panic there was said by its hook.
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(
    runtime: &Runtime,
    address: SocketAddr,
    first: io::Result<TcpListener>,
    shared: Arc<Shared>,
    over: oneshot::Receiver<()>,
) {
    let work = async {
        let listener = listener(address, first).await;
        http::serve(listener, shared).await;
    };
    runtime.block_on(async {
        tokio::select! {
            () = work => (),
            _ = over => (),
        }
    });
}

/// Tries until the address can be had.
async fn listener(address: SocketAddr, first: io::Result<TcpListener>) -> TcpListener {
    let mut tried = first;
    let mut said = false;
    loop {
        match tried {
            Ok(listener) => {
                if said {
                    info!(%address, "the status page is there");
                }
                return listener;
            }
            Err(err) if !said => {
                warn!(%address, %err, "the status page cannot listen there; trying again. Check page.address and page.port");
                said = true;
            }
            Err(_) => (),
        }
        sleep(AGAIN).await;
        tried = TcpListener::bind(address).await;
    }
}
