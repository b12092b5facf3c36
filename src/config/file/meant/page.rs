//! Where the status page listens, and who may read it.

use std::net::SocketAddr;

use super::Reader;
use crate::config::{
    Page,
    file::{secrets, surroundings::Surroundings, value},
};

/// The page. One that others can reach without a token does not exist.
pub(super) fn page(reader: &mut Reader<'_>, surroundings: &Surroundings) -> Page {
    reader.try_file("page", "token_file", secrets::token);
    reader.keep_private("page", "token_file", surroundings);
    let written = reader.text("page", "address");
    // Where the address itself is wrong, nothing can be said of what stands beside it.
    let unsure = written.is_none() && reader.has("page", "address");
    let Some(ip) = written.and_then(|it| value::listen(&it)).flatten() else {
        if reader.has("page", "token_file") && !unsure {
            let cure = "write address = \"loopback\" or an address, or remove it";
            reader.fault("page", "token_file", "this means nothing without an address", cure);
        }
        return Page::Off;
    };
    let address = SocketAddr::new(ip, reader.integer("page", "port", 8417));
    match reader.path("page", "token_file") {
        Some(token_file) => {
            if !ip.is_loopback() {
                let place = reader.place("page", "address");
                let what = "the page and its token cross the network in the clear";
                let cure = "write \"loopback\" and read it through ssh -L, or put a proxy with TLS before it";
                reader.warning(place, "page.address", what, cure);
            }
            Page::Guarded { address, token_file }
        }
        None if ip.is_loopback() => Page::Loopback(address),
        None => {
            // A token_file that is wrong was remarked already.
            if !reader.has("page", "token_file") {
                let what = "others could read the page: this address is not loopback, and there is no token";
                let cure = "add token_file below [page], the path of a file with a token (openssl rand -hex 32), or \
                            write \"loopback\"";
                reader.fault("page", "address", what, cure);
            }
            Page::Off
        }
    }
}
