//! What is demanded of the signatures of states before they are installed: flags, and the configuration file.
//!
//! ```json
//! {"httpd":{"secureboot":"strict","trust":"/etc/pvr-agent/trust.pem","clock-is-right":true,
//!           "oem-name":"acme","oem-trust":"/etc/pvr-agent/acme.pem"}}
//! ```
//!
//! Not the configuration in the running state: whoever posts that would decide what is demanded of the next post.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use crate::endpoint::config::ETC_FILE;
use crate::sig::device::{Policy, Trust};
use crate::state::{JsonLimits, Value, escape, parse::parse_strict};
use crate::trails::{Demands, Signatures};

/// Largest trust store: those of browsers have a quarter of that.
const MAX_TRUST: u64 = 1024 * 1024;
const MAX_CONFIG: u64 = 64 * 1024;

/// Flags of `serve`.
#[derive(clap::Args, Debug, Default)]
pub(super) struct SecureBoot {
    /// What the signatures of a state have to be for it to be installed: disabled, lenient, audit, strict or hardened
    /// [default: lenient with --trust, disabled without]
    #[arg(long, value_name = "POLICY")]
    secureboot: Option<String>,
    /// The certificates that signatures may be by, and the key of those without certificate (PEM)
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// The name of the device's maker (PV_OEM_NAME), whose certificates are in --oem-trust
    #[arg(long, value_name = "NAME", requires = "oem_trust")]
    oem_name: Option<String>,
    /// The certificates of the maker (PEM): they may vouch for what is neither bsp nor the maker's own folder
    #[arg(long, value_name = "FILE", requires = "oem_name")]
    oem_trust: Option<PathBuf>,
    /// The clock is right: certificates may be out of their dates (hardened)
    #[arg(long)]
    clock_is_right: bool,
}

/// Flags of commands that are told whom a device trusts.
#[derive(clap::Args, Debug, Default)]
pub(super) struct Oem {
    /// The name of the device's maker (PV_OEM_NAME), whose certificates are in --oem-cacerts
    #[arg(long, value_name = "NAME", requires = "oem_cacerts")]
    oem_name: Option<String>,
    /// The certificates of the maker (PEM): they may vouch for what is neither bsp nor the maker's own folder
    #[arg(long, value_name = "FILE", requires = "oem_name")]
    oem_cacerts: Option<PathBuf>,
}

/// The maker of a device (`storage.md` §6.3), and where its certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Maker {
    name: String,
    file: PathBuf,
}

impl Maker {
    fn of(name: Option<String>, file: Option<PathBuf>) -> Option<Self> {
        name.zip(file).map(|(name, file)| Self { name, file })
    }

    /// What a device trusts that has this maker.
    pub(super) fn trusted_beside(&self, trust: Trust) -> Result<Trust> {
        let bytes = read(&self.file, MAX_TRUST)?;
        let shown = || escape(&self.file.to_string_lossy()).into_owned();
        let trust = trust.with_oem(&self.name, &String::from_utf8_lossy(&bytes));
        trust.map_err(|error| anyhow!("'{}' of the maker cannot be trusted: {error}", shown()))
    }
}

impl Oem {
    /// Who it is. Paths are as seen from `cwd`.
    pub(super) fn maker(&self, cwd: &Path) -> Option<Maker> {
        Maker::of(self.oem_name.clone(), self.oem_cacerts.as_ref().map(|file| cwd.join(file)))
    }
}

/// What one place says.
#[derive(Debug, Default)]
struct Said {
    policy: Option<Policy>,
    trust: Option<PathBuf>,
    maker: Option<Maker>,
    clock_is_right: Option<bool>,
}

impl SecureBoot {
    /// What is demanded, and a line that says so. `config` is the file that was named.
    pub(super) fn demands(&self, config: Option<&Path>) -> Result<(Demands, String)> {
        let file = match config {
            // What flags override need not make sense.
            _ if self.secureboot.is_some() && self.trust.is_some() && self.oem_name.is_some() => Said::default(),
            Some(file) => said_in(file)?,
            None if Path::new(ETC_FILE).exists() => said_in(Path::new(ETC_FILE))?,
            None => Said::default(),
        };
        let given = self.secureboot.as_deref().map(|text| policy("--secureboot", text)).transpose()?;
        let policy = given.or(file.policy);
        let trust = self.trust.clone().or(file.trust);
        let clock_is_right = self.clock_is_right || file.clock_is_right.unwrap_or(false);
        let maker = Maker::of(self.oem_name.clone(), self.oem_trust.clone()).or(file.maker);
        let demands = demands(policy, trust.as_deref(), maker.as_ref(), clock_is_right)
            .context("what signatures have to be cannot be decided")?;
        let line = match &demands.signatures {
            None => "disabled (who runs a state looks at them)".to_owned(),
            Some(Signatures { policy, trust, .. }) => {
                let skipped = match trust.skipped() {
                    0 => String::new(),
                    skipped => format!(", {skipped} passed over"),
                };
                format!("{policy}, {} certificates are trusted{skipped}", trust.anchors())
            }
        };
        Ok((demands, line))
    }
}

/// What is demanded by `--policy`, `--cacerts` and the flags of a maker.
pub(super) fn given(text: Option<&str>, cacerts: Option<PathBuf>, maker: Option<&Maker>) -> Result<Demands> {
    let policy = text.map(|text| policy("--policy", text)).transpose()?;
    demands(policy, cacerts.as_deref(), maker, false)
}

fn demands(
    policy: Option<Policy>,
    file: Option<&Path>,
    maker: Option<&Maker>,
    clock_is_right: bool,
) -> Result<Demands> {
    let policy = policy.unwrap_or(if file.is_some() { Policy::Lenient } else { Policy::Disabled });
    let Some(file) = file.filter(|_| policy.verifies()) else {
        if policy.verifies() {
            bail!(
                "the policy {policy} needs to know whom to trust\ngive a file of certificates (PEM): that of a device is \
                   /etc/pantavisor/pvs/trust/ca-certificates.crt"
            );
        }
        return Ok(Demands::default());
    };
    let trust = trust(file)?;
    let trust = match maker {
        Some(maker) => maker.trusted_beside(trust)?,
        None => trust,
    };
    Ok(Demands { signatures: Some(Signatures { policy, trust: Arc::new(trust), clock_is_right }) })
}

/// Reads a policy.
pub(super) fn policy(origin: &str, text: &str) -> Result<Policy> {
    text.parse().map_err(|error| anyhow!("{origin}: there is no policy '{}': {error}", escape(text)))
}

/// Reads certificates and keys to trust.
pub(super) fn trust(file: &Path) -> Result<Trust> {
    let shown = || escape(&file.to_string_lossy()).into_owned();
    let bytes = read(file, MAX_TRUST)?;
    let text = String::from_utf8_lossy(&bytes);
    Trust::from_pem(&text).map_err(|error| anyhow!("'{}' cannot be trusted: {error}", shown()))
}

/// Reads a file that isn't too large.
pub(super) fn read(file: &Path, limit: u64) -> Result<Vec<u8>> {
    let shown = escape(&file.to_string_lossy()).into_owned();
    let open = || -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(file)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = open().with_context(|| format!("read '{shown}'"))?;
    if bytes.len() as u64 > limit {
        bail!("'{shown}' has more than {limit} bytes");
    }
    Ok(bytes)
}

fn said_in(file: &Path) -> Result<Said> {
    let shown = escape(&file.to_string_lossy()).into_owned();
    let bytes = read(file, MAX_CONFIG)?;
    let limits = JsonLimits { bytes: bytes.len(), depth: 64 };
    let config = parse_strict(&bytes, &limits).with_context(|| format!("'{shown}' is no configuration"))?;
    said(&shown, &config)
}

fn said(origin: &str, config: &Value) -> Result<Said> {
    let Some(httpd) = config.get("httpd") else { return Ok(Said::default()) };
    let text = |key| match httpd.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(other) => Err(anyhow!("{origin}: {key} is {}, not a string", other.kind())),
    };
    let file = |key| -> Result<Option<PathBuf>> {
        let file = text(key)?.map(PathBuf::from);
        if let Some(relative) = file.as_ref().filter(|path| path.is_relative()) {
            bail!("{origin}: {key} '{}' is no absolute path", escape(&relative.to_string_lossy()));
        }
        Ok(file)
    };
    let trust = file("trust")?;
    let (oem_name, oem_trust) = (text("oem-name")?.map(str::to_owned), file("oem-trust")?);
    if oem_name.is_some() != oem_trust.is_some() {
        bail!("{origin}: oem-name and oem-trust belong together");
    }
    let maker = Maker::of(oem_name, oem_trust);
    let clock_is_right = match httpd.get("clock-is-right") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(right)) => Some(*right),
        Some(other) => bail!("{origin}: clock-is-right is {}, not true or false", other.kind()),
    };
    let policy = text("secureboot")?.map(|text| policy(origin, text)).transpose()?;
    Ok(Said { policy, trust, maker, clock_is_right })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_configuration_says() {
        let said = |text: &str| {
            let value = parse_strict(text.as_bytes(), &JsonLimits::default()).unwrap();
            let said = said("test", &value).ok()?;
            let maker = said.maker.map(|maker| format!("{} {}", maker.name, maker.file.display()));
            Some((said.policy, said.trust, maker, said.clock_is_right))
        };
        let trust = Some(PathBuf::from("/t.pem"));
        for (text, want) in [
            (r#"{"httpd":{"secureboot":"strict","trust":"/t.pem"}}"#, Some((Some(Policy::Strict), trust, None, None))),
            (r#"{"httpd":{"secureboot":"","trust":null,"clock-is-right":true}}"#, Some((None, None, None, Some(true)))),
            (
                r#"{"httpd":{"oem-name":"acme","oem-trust":"/a.pem"}}"#,
                Some((None, None, Some("acme /a.pem".to_owned()), None)),
            ),
            (r#"{"httpd":{"port":1}}"#, Some((None, None, None, None))),
            ("{}", Some((None, None, None, None))),
            (r#"{"httpd":{"oem-name":"acme"}}"#, None),
            (r#"{"httpd":{"oem-trust":"/a.pem"}}"#, None),
            (r#"{"httpd":{"oem-name":"acme","oem-trust":"a.pem"}}"#, None),
            (r#"{"httpd":{"secureboot":"Strict"}}"#, None),
            (r#"{"httpd":{"secureboot":1}}"#, None),
            (r#"{"httpd":{"trust":"t.pem"}}"#, None),
            (r#"{"httpd":{"clock-is-right":"yes"}}"#, None),
        ] {
            assert_eq!(said(text), want, "{text}");
        }
    }

    #[test]
    fn a_policy_that_verifies_needs_somebody_to_trust() {
        assert_eq!(demands(None, None, None, false).unwrap().policy(), Policy::Disabled);
        assert!(demands(Some(Policy::Lenient), None, None, false).is_err());
        assert_eq!(
            demands(Some(Policy::Disabled), Some(Path::new("/nowhere")), None, false).unwrap().policy(),
            Policy::Disabled
        );
        assert!(demands(None, Some(Path::new("/nowhere")), None, false).is_err());
    }
}
