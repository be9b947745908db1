//! What a process brings to a server that speaks TLS.

use std::path::PathBuf;

/// Whom a process trusts, and what it shows, where servers speak TLS.
///
/// A server that asks for TLS has it, and so has a URL `tls://host`. With either field set there is no connection
/// without. Files are PEM and are read for each connection, so a certificate is replaced by replacing its file.
/// A file that can't be read or used is logged like a server that can't be reached.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Certificates of the authorities that may vouch for a server. Default none: those of the system may, or those
    /// in the file that `SSL_CERT_FILE` names.
    pub ca_file: Option<PathBuf>,
    /// What this process shows to a server that asks for a certificate. Default none.
    pub identity: Option<Identity>,
}

/// A certificate and the key to it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate, and those between it and its authority.
    pub certificate_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
}
