//! Certificates made by `openssl`, which knows nothing of this program.
#![allow(dead_code)] // every test binary compiles all of this and uses a part

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use pvr_agent::endpoint::TlsFiles;

const CONFIG: &str = "
[ca]
default_ca = here
[here]
new_certs_dir = .
database = index.txt
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
[leaf]
basicConstraints = critical,CA:FALSE
subjectAltName = ${ENV::SAN}
[authority]
basicConstraints = critical,CA:TRUE
[req]
distinguished_name = none
[none]
";

/// From when to when, as `openssl ca` has it.
pub type Validity = (&'static str, &'static str);

pub const VALID: Validity = ("20200101000000Z", "20991231235959Z");
pub const EXPIRED: Validity = ("20200101000000Z", "20210203040506Z");
pub const NOT_YET: Validity = ("20980101000000Z", "20991231235959Z");

/// The names that tests connect to.
pub const HERE: &str = "DNS:localhost,IP:127.0.0.1";

/// An authority in a folder of its own.
pub struct Pki {
    folder: tempfile::TempDir,
}

impl Pki {
    pub fn new() -> Self {
        let pki = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(pki.at("config"), CONFIG).unwrap();
        fs::write(pki.at("index.txt"), "").unwrap();
        pki.new_key("ca", "ec:P-256");
        pki.openssl("req -config config -x509 -new -key ca.key -subj /CN=authority -days 3000 -out ca.crt -extensions authority");
        pki
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate.
    pub fn ca(&self) -> String {
        self.at("ca.crt").to_str().unwrap().to_owned()
    }

    /// Where certificate and key of that name are.
    pub fn files(&self, name: &str) -> TlsFiles {
        TlsFiles { cert: self.at(&format!("{name}.crt")), key: self.at(&format!("{name}.key")) }
    }

    /// Makes `<name>.key` (`ec:P-256`, `rsa:2048`, `ed25519`).
    pub fn new_key(&self, name: &str, kind: &str) {
        let kind = match kind.split_once(':') {
            Some(("ec", curve)) => format!("-algorithm EC -pkeyopt ec_paramgen_curve:{curve}"),
            Some(("rsa", bits)) => format!("-algorithm RSA -pkeyopt rsa_keygen_bits:{bits}"),
            _ => format!("-algorithm {kind}"),
        };
        self.openssl(&format!("genpkey {kind} -out {name}.key"));
        self.openssl_is_private(name);
    }

    fn openssl_is_private(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(self.at(&format!("{name}.key")), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A certificate for `san`, and its key.
    pub fn leaf(&self, name: &str, san: &str) -> TlsFiles {
        self.leaf_when(name, san, VALID)
    }

    pub fn leaf_when(&self, name: &str, san: &str, validity: Validity) -> TlsFiles {
        self.new_key(name, "ec:P-256");
        self.sign("ca", name, "leaf", san, validity);
        self.files(name)
    }

    /// A certificate whose file holds the one of an authority in between as well.
    pub fn leaf_of_a_chain(&self, name: &str, san: &str) -> TlsFiles {
        self.new_key("between", "ec:P-256");
        self.sign("ca", "between", "authority", san, VALID);
        self.new_key(name, "ec:P-256");
        self.sign("between", name, "leaf", san, VALID);
        let files = self.files(name);
        let chain = [fs::read(&files.cert).unwrap(), fs::read(self.at("between.crt")).unwrap()].concat();
        fs::write(&files.cert, chain).unwrap();
        files
    }

    /// Has `by` sign `<name>.crt` for the key of that name.
    pub fn sign(&self, by: &str, name: &str, kind: &str, san: &str, (from, to): Validity) {
        self.openssl(&format!("req -config config -new -key {name}.key -subj /CN={name} -out {name}.csr"));
        self.run(
            &format!(
                "ca -batch -notext -config config -cert {by}.crt -keyfile {by}.key -in {name}.csr -out {name}.crt \
                 -startdate {from} -enddate {to} -extensions {kind}"
            ),
            san,
        );
    }

    /// Runs `openssl` in the folder.
    pub fn openssl(&self, args: &str) {
        self.run(args, HERE);
    }

    fn run(&self, args: &str, san: &str) {
        let mut command = Command::new("openssl");
        command.args(args.split_whitespace()).current_dir(self.folder.path()).env("SAN", san);
        let output = command.output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
