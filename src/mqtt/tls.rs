//! TLS towards a broker: which certificate authorities are trusted, and which client certificate is presented. The
//! only home of rustls.

use std::{fs, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

use crate::config::MqttSecrets;

/// The TLS settings of a connection.
pub(crate) type Tls = Arc<ClientConfig>;

/// Where distributions keep the certificates of public authorities: Debian and Ubuntu (also on a Jetson), Fedora,
/// openSUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// A certificate or key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `mqtt.tls_ca_file`.
    #[error(
        "mqtt.tls_ca_file: no usable certificate in it; a PEM file of the authority that signed the broker's is needed"
    )]
    Authority,
    /// No bundle was found on this system.
    #[error("no certificates of public authorities on this system; install ca-certificates, or set mqtt.tls_ca_file")]
    NoSystem,
    /// `mqtt.tls_certificate_file`.
    #[error("mqtt.tls_certificate_file: not a PEM certificate")]
    Certificate,
    /// `mqtt.tls_key_file`. The reason is left out because it could contain a part of the key.
    #[error("mqtt.tls_key_file: not a PEM key")]
    Key,
    /// Certificate and key do not match, or ring does not support the key's type.
    #[error("mqtt.tls_certificate_file and mqtt.tls_key_file cannot be used together: {0}")]
    Pair(rustls::Error),
    /// rustls and its provider have no version of TLS in common.
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

/// Reads the certificates and the key, PEM; without an authority of their own, those of the system.
///
/// # Errors
/// Which of them cannot be used.
pub(crate) fn client_config(secrets: &MqttSecrets) -> Result<Tls, TlsError> {
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
            let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(TlsError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes()).map_err(|_hidden| TlsError::Key)?;
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Pair)?
        }
    };
    Ok(Arc::new(config))
}

/// Skips certificates that cannot be parsed: one among the system's hundreds must not disable the others.
fn authorities(pem: &[u8]) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let (added, _ignored) = store.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).flatten());
    (0 < added).then_some(store)
}

fn system_authorities() -> Result<RootCertStore, TlsError> {
    SYSTEM_BUNDLES.iter().find_map(|file| authorities(&fs::read(file).ok()?)).ok_or(TlsError::NoSystem)
}
