//! Certificates of an authority that lasts for a test.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Makes an authority (`ca.pem`), another one (`another-ca.pem`), and the certificates of a server on 127.0.0.1 and of a
/// client, for which the first vouches: `server.pem`, `server-key.pem`.
pub(crate) fn make(folder: &Path) {
    let ca = authority(folder, "ca");
    authority(folder, "another-ca");
    for (name, place) in [("server", "127.0.0.1"), ("client", "client")] {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([place.to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ca).unwrap();
        let write = |file: &str, text: String| fs::write(folder.join(file), text).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}-key.pem"), key.serialize_pem());
    }
}

fn authority(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let certificate = params.self_signed(&key).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    Issuer::new(params, key)
}
