//! Certificates of an authority that lasts for a test.

use std::{path::Path, process::Command};

/// Makes an authority (`ca.pem`), another one (`another-ca.pem`), and the certificates of a server on 127.0.0.1 and of a
/// client, for which the first vouches: `server.pem`, `server-key.pem`.
pub(crate) fn make(folder: &Path) {
    let openssl = |line: &str| {
        let made = Command::new("openssl")
            .args(line.split(' '))
            .current_dir(folder)
            .output()
            .expect("this test needs openssl");
        let said = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "openssl {line}: {said}");
    };
    for ca in ["ca", "another-ca"] {
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={ca} -keyout {ca}-key.pem -out {ca}.pem"
        ));
    }
    for (name, more) in [
        ("server", "subjectAltName=IP:127.0.0.1"),
        ("client", "subjectAltName=DNS:client"),
    ] {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -addext {more} -keyout {name}-key.pem -out {name}.csr"
        ));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -copy_extensions copy -out {name}.pem"
        ));
    }
}
