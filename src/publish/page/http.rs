//! The HTTP server of the status page: routes, headers, and limits on connections. The only home of axum.

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

use super::{CONNECTIONS_MAX, PageEvent, Shared, auth::Refusal, text};
use crate::publish::metrics;

/// Markup, style and script in one file.
const PAGE: &str = include_str!("page.html");
/// A connection is closed if nothing could be written to it for this long: it is idle or stuck.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a comment is sent on an idle event stream.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How long a browser waits before it reconnects a lost event stream.
const RECONNECT: Duration = Duration::from_secs(3);
/// How long to wait after a failed `accept`: the process may have run out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Serves for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let ended = axum::serve(LimitedListener { listener, permits }, router(shared)).await;
    // By its documentation it never ends.
    debug!(?ended, "the status page has ended");
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
    let guard = Guard { shared, headers: Arc::new(headers()) };
    routes.layer(middleware::from_fn_with_state(guard, guard_request))
}

/// The state of the middleware that every request passes.
#[derive(Clone)]
struct Guard {
    shared: Arc<Shared>,
    headers: Arc<HeaderMap>,
}

/// Checks the authorisation and adds the headers.
async fn guard_request(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let authorised = {
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        guard.shared.auth.check(text(HOST), text(AUTHORIZATION))
    };
    let mut response = match authorised {
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
    for (name, value) in guard.headers.iter() {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// The headers of every response: nothing may be loaded from elsewhere, cached, framed, or read by another site.
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
    // Base64 and the constants above are always a valid header value.
    headers.extend(HeaderValue::try_from(policy).map(|value| (header::CONTENT_SECURITY_POLICY, value)));
    headers
}

async fn page() -> Response {
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let problems = shared.history().problems();
    match problems.as_slice() {
        [] => "ok\n".into_response(),
        problems => (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let (figures, cameras) = shared.history().summary();
    let text = metrics::text(&shared.facts, &figures, &cameras);
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    json(shared.status().json.as_bytes().to_vec())
}

async fn history(State(shared): State<Arc<Shared>>, Path(camera): Path<String>) -> Response {
    let history = shared.history().history(&camera);
    match history {
        Some(history) => json(text::history(&camera, &history)),
        None => (StatusCode::NOT_FOUND, "there is no camera of this name\n").into_response(),
    }
}

fn json(text: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The event stream: the status first, then new events.
async fn events(State(shared): State<Arc<Shared>>) -> Response {
    let Ok(permit) = Arc::clone(&shared.streams).try_acquire_owned() else {
        let words = "as many pages are open as may be: close one\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "30")], words).into_response();
    };
    let receiver = shared.events.subscribe();
    let first = stream::iter([Ok::<_, Infallible>(event(&shared.status()).retry(RECONNECT))]);
    let rest = stream::unfold((receiver, permit), |(mut receiver, permit)| async move {
        // A reader that is too slow has lost events: the stream ends, and the page reloads the history.
        let next = receiver.recv().await.ok()?;
        Some((Ok(event(&next)), (receiver, permit)))
    });
    Sse::new(first.chain(rest)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn event(event: &PageEvent) -> Event {
    Event::default().event(event.name).data(&event.json)
}

/// Limits the number of connections: `accept` waits for a permit.
struct LimitedListener {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for LimitedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed, so this always succeeds in the end.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => return (Connection::new(stream, permit), address),
                Err(err) => {
                    let is_peers = matches!(
                        err.kind(),
                        io::ErrorKind::ConnectionRefused
                            | io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                    );
                    if !is_peers {
                        debug!(%err, "no connection to the status page could be accepted");
                        sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that is closed when nothing could be written to it for [`WRITE_TIMEOUT`]. Reads do not count: a peer
/// that sends its request byte by byte would otherwise keep its permit for ever.
struct Connection {
    stream: TcpStream,
    timeout: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, permit: Option<OwnedSemaphorePermit>) -> Self {
        // Events are small and shown live. If this fails, they arrive a little later.
        stream.set_nodelay(true).ok();
        Self { stream, timeout: Box::pin(sleep(WRITE_TIMEOUT)), _permit: permit }
    }

    /// Returns the result, or an error if it is pending and the timeout has expired.
    fn or_timed_out<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_pending() {
            ready!(self.timeout.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.or_timed_out(context, read)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(1..)) = written {
            self.timeout.as_mut().reset(Instant::now() + WRITE_TIMEOUT);
        }
        self.or_timed_out(context, written)
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
        for tag in ["<style>", "</style>", "<script>", "</script>"] {
            assert_eq!(PAGE.matches(tag).count(), 1, "{tag}");
        }
        for forbidden in ["http://", "https://", "src=", "@import", "url(h", "url(\"", "innerHTML", "style=", "onclick"]
        {
            // The SVG namespace is a name only; nothing is fetched.
            assert!(!PAGE.replace("http://www.w3.org/2000/svg", "").contains(forbidden), "{forbidden}");
        }
        let policy = headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let empty = STANDARD.encode(Sha256::digest(b""));
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains(&empty), "{policy}");
    }
}
