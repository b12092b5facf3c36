//! Where the status page listens, and who may read it.

use std::net::SocketAddr;

use super::Context;
use crate::config::{
    Page,
    file::{keys, secrets},
};

/// The page. One that others could reach without a token is refused.
pub(super) fn page(context: &mut Context<'_>, keys: &keys::PageKeys) -> Page {
    context.try_secret("page.token_file", keys.token_file.as_deref(), secrets::token);
    let Some(ip) = keys.address.address() else {
        // If the address is invalid, nothing can be said about the token.
        if context.has("page.token_file") && !context.is_wrong("page.address") {
            let cure = "write address = \"loopback\" or an address, or remove it";
            context.fault("page.token_file", "this means nothing without an address", cure);
        }
        return Page::Off;
    };
    let address = SocketAddr::new(ip, keys.port.get());
    match &keys.token_file {
        Some(token_file) => {
            if !ip.is_loopback() {
                let what = "the page and its token cross the network in the clear";
                let cure = "write \"loopback\" and read it through ssh -L, or put a proxy with TLS before it";
                context.warning(context.place("page.address"), "page.address", what, cure);
            }
            Page::Guarded { address, token_file: token_file.0.clone() }
        }
        None if ip.is_loopback() => Page::Loopback(address),
        None => {
            // An invalid token_file has its fault already.
            if !context.has("page.token_file") {
                let what = "others could read the page: this address is not loopback, and there is no token";
                let cure = "add token_file below [page], the path of a file with a token (openssl rand -hex 32), or \
                            write \"loopback\"";
                context.fault("page.address", what, cure);
            }
            Page::Off
        }
    }
}
