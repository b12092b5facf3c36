//! The page over HTTP: who asks for what, and how many may.
//!
//! The only file that knows axum.

use std::{
    convert::Infallible,
    future::Future as _,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    extract::{Path, Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{self, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::{self, Next},
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
    routing::get,
    serve::Listener,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};
use tracing::debug;

use super::{CONNECTIONS_MAX, News, Shared, auth::Refusal, text};
use crate::publish::metrics;

/// All of it: markup, style and script.
const PAGE: &str = include_str!("page.html");
/// A connection to which nothing could be written for so long is closed: it is idle, stuck, or has asked for nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// A stream with no news says so often that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// A browser that lost its stream comes back after so long.
const COME_BACK: Duration = Duration::from_secs(3);
/// When the process has no descriptors left, those of others may be free again after this.
const NO_DESCRIPTORS: Duration = Duration::from_secs(1);

/// Serves for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let served = axum::serve(Doorway { listener, places }, router(shared)).await;
    // It says of itself that it never ends.
    debug!(?served, "the status page has ended");
}

fn router(shared: Arc<Shared>) -> Router {
    let routes = Router::new()
        .route("/", get(page))
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/history/{camera}", get(history))
        .route("/api/events", get(events))
        .with_state(Arc::clone(&shared));
    let entrance = Entrance { shared, headers: Arc::new(headers()) };
    routes.layer(middleware::from_fn_with_state(entrance, admit))
}

/// What every request passes.
#[derive(Clone)]
struct Entrance {
    shared: Arc<Shared>,
    headers: Arc<HeaderMap>,
}

async fn admit(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    let judged = {
        let text = |name| request.headers().get(name).and_then(|it: &HeaderValue| it.to_str().ok());
        entrance.shared.door.admit(text(HOST), text(AUTHORIZATION))
    };
    let mut response = match judged {
        Ok(()) => next.run(request).await,
        Err(Refusal::Host) => {
            let words = "this page is only for this machine: ask for localhost or 127.0.0.1 (from elsewhere through \
                         ssh -L), or give it a token (page.token_file)\n";
            (StatusCode::MISDIRECTED_REQUEST, words).into_response()
        }
        Err(Refusal::Token) => {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"edge-ger\", charset=\"UTF-8\"")];
            let words = "this page needs the token of page.token_file: as the password, or as a bearer token\n";
            (StatusCode::UNAUTHORIZED, challenge, words).into_response()
        }
    };
    for (name, value) in entrance.headers.iter() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// The headers of every answer: nothing is loaded from elsewhere, kept, framed, or read by another site.
fn headers() -> HeaderMap {
    let hash = |start: &str, end: &str| {
        let inside = PAGE.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(inside, _)| inside);
        STANDARD.encode(Sha256::digest(inside.as_bytes()))
    };
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        hash("<script>", "</script>"),
        hash("<style>", "</style>"),
    );
    let fixed = [
        (CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    let mut headers: HeaderMap =
        fixed.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
    // Base64 and the words above are all that stands in it.
    headers.extend(HeaderValue::try_from(policy).map(|it| (header::CONTENT_SECURITY_POLICY, it)));
    headers
}

async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let troubles = shared.chronicle().troubles();
    match troubles.as_slice() {
        [] => "ok\n".into_response(),
        troubles => (StatusCode::SERVICE_UNAVAILABLE, troubles.join("\n") + "\n").into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let (figures, cameras) = shared.chronicle().now();
    let text = metrics::text(&shared.facts, &figures, &cameras);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    json(shared.status().text.as_bytes().to_vec())
}

async fn history(State(shared): State<Arc<Shared>>, Path(camera): Path<String>) -> Response {
    let history = shared.chronicle().history(&camera);
    match history {
        Some(history) => json(text::history(&camera, &history)),
        None => (StatusCode::NOT_FOUND, "there is no camera of this name\n").into_response(),
    }
}

fn json(text: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The status first, then whatever is new.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(place) = Arc::clone(&shared.streams).try_acquire_owned() else {
        let words = "as many pages are open as may be: close one\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "30")], words).into_response();
    };
    let reader = shared.news.subscribe();
    let first = stream::iter([Ok::<_, Infallible>(event(&shared.status()).retry(COME_BACK))]);
    let rest = stream::unfold((reader, place), |mut it| async move {
        // Whoever is too slow has lost events: the stream ends, and the page begins anew with the history.
        let news = it.0.recv().await.ok()?;
        Some((Ok(event(&news)), it))
    });
    Sse::new(first.chain(rest)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn event(news: &News) -> Event {
    Event::default().event(news.kind).data(&news.text)
}

/// Lets in as many as there are places.
struct Doorway {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Listener for Doorway {
    type Io = Visitor;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visitor, SocketAddr) {
        // The semaphore is never closed, so there always is a place at last.
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Visitor::new(stream, place), address),
                Err(err) => {
                    let gone = matches!(
                        err.kind(),
                        io::ErrorKind::ConnectionRefused
                            | io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                    );
                    if !gone {
                        debug!(%err, "no connection to the status page could be taken");
                        sleep(NO_DESCRIPTORS).await;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is closed when nothing could be written to it for [`PATIENCE`]. Only what we write counts: a peer
/// that sends a request letter by letter would otherwise keep its place for ever.
struct Visitor {
    stream: TcpStream,
    patience: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Visitor {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>) -> Self {
        // Events are small, and people look at them live. Where it is refused they come a little later.
        stream.set_nodelay(true).ok();
        Self { stream, patience: Box::pin(sleep(PATIENCE)), _place: place }
    }

    /// Passes a result on unless it must be waited for and patience is at its end.
    fn or_late<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_pending() {
            ready!(self.patience.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_late(context, read)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            self.patience.as_mut().reset(Instant::now() + PATIENCE);
        }
        self.or_late(context, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_and_has_one_style_and_one_script() {
        for once in ["<style>", "</style>", "<script>", "</script>"] {
            assert_eq!(PAGE.matches(once).count(), 1, "{once}");
        }
        for never in ["http://", "https://", "src=", "@import", "url(h", "url(\"", "innerHTML", "style=", "onclick"] {
            // The name of the SVG namespace is fetched by nobody.
            assert!(!PAGE.replace("http://www.w3.org/2000/svg", "").contains(never), "{never}");
        }
        let policy = headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let empty = STANDARD.encode(Sha256::digest(b""));
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains(&empty), "{policy}");
    }
}
