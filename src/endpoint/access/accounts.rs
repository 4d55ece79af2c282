//! The accounts of a device: one file, 0600, replaced whole.
//!
//! ```text
//! <state folder>/access.json
//! {"spec":"pvr-agent-access@1","key":"<base64url: 32 bytes>","accounts":[
//!  {"name":"ann","scope":"admin","id":"<16 hex>","created":"2026-11-23T12:00:00Z",
//!   "password":{"kdf":"argon2id","memory-kib":4096,"passes":6,"salt":"<base64url>","hash":"<base64url>"}},
//!  {"name":"ci","scope":"deploy","id":"…","created":"…","token":"<sha256>","expires":"2027-01-01T00:00:00Z"},
//!  {"name":"box","scope":"read","id":"…","created":"…"}]}
//! ```
//!
//! An account with a password is a user, one with a token is let in by that, one with neither by a certificate alone. `id` is drawn anew whenever an account
//! is made or replaced: what was handed out before names another one. `key` is what tokens of logins and URLs are signed with.
//!
//! Whoever changes it holds a lock on the folder. What cannot be read, or says something that is not known here, is damaged, and then
//! nobody is let in: a member that is passed over may be one that locks somebody out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::password::Password;
use super::{Scope, attempts};
use crate::sig::base64;
use crate::state::{clock, escape};
use crate::store::give_to_owner;

const SPEC: &str = "pvr-agent-access@1";
const NAME: &str = "access.json";
/// Largest file, and most accounts in it.
const MAX_BYTES: u64 = 256 * 1024;
const MAX_ACCOUNTS: usize = 256;
/// Longest name.
const MAX_NAME: usize = 64;

/// What is wrong with the accounts, or with what shall be done to them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The file cannot be used, and nobody is let in.
    #[error(
        "the accounts in '{path}' cannot be used: {why}\nnobody is let in until it is mended, or removed and accounts are added anew"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// It is gone, and there have been accounts.
    #[error(
        "the accounts in '{0}' are gone\nnobody is let in until there are some again: put the file back, or add accounts anew"
    )]
    Lost(String),
    /// It cannot be written.
    #[error("failed to {verb} '{path}': {source}")]
    Write {
        /// To do what.
        verb: &'static str,
        /// To what.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// No account can have that name.
    #[error("'{0}' is no name\nit has 1 to 64 of A-Z a-z 0-9 . _ -, the first a letter or digit")]
    BadName(String),
    /// There is such an account.
    #[error("there is an account '{0}'\n--replace makes it anew; what was handed out to it ends")]
    Exists(String),
    /// There is none.
    #[error("there is no account '{0}'")]
    Unknown(String),
    /// It is the last one.
    #[error("'{0}' is the last account: without it, everybody is let in, as admin\n--open says that this is meant")]
    Last(String),
    /// There are too many.
    #[error("there are {MAX_ACCOUNTS} accounts, which is as many as there can be")]
    Full,
    /// A password that is none.
    #[error("a password has 8 to 1024 bytes, and no line breaks")]
    BadPassword,
}

impl AccessError {
    /// Whether there was nothing wrong but that the accounts are not as somebody thought.
    pub fn is_no(&self) -> bool {
        matches!(self, Self::Exists(_) | Self::Unknown(_) | Self::Last(_))
    }
}

/// How an account gets in.
#[derive(Debug)]
pub enum Credential {
    /// By this password.
    Password(Vec<u8>),
    /// By a token that is drawn, until that time in seconds after 1970, if there is one.
    Token(Option<u64>),
    /// By a certificate.
    Certificate,
}

/// Somebody who is let in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Who.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
    /// Which of those that have had the name.
    pub(super) id: String,
    /// When it was made.
    pub created: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) password: Option<Password>,
    /// The sha256 of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    /// When the token ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

impl Account {
    /// How it gets in: `password`, `token` or `certificate`.
    pub fn kind(&self) -> &'static str {
        match (&self.password, &self.token) {
            (Some(_), _) => "password",
            (None, Some(_)) => "token",
            (None, None) => "certificate",
        }
    }

    /// Whether its time is over.
    pub fn has_ended(&self, now: u64) -> bool {
        let ends = self.expires.as_deref().map(|text| clock::parse_rfc3339(text).unwrap_or(0));
        ends.is_some_and(|ends| ends <= now)
    }
}

/// All of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    spec: String,
    key: String,
    accounts: Vec<Account>,
}

impl Accounts {
    fn new() -> io::Result<Self> {
        Ok(Self { spec: SPEC.to_owned(), key: base64::url(&random::<32>()?), accounts: Vec::new() })
    }

    /// In the order in which they were made.
    pub fn all(&self) -> &[Account] {
        &self.accounts
    }

    /// The one of that name.
    pub fn named(&self, name: &str) -> Option<&Account> {
        self.accounts.iter().find(|account| account.name == name)
    }

    /// What is signed with, as a block of HMAC. It was looked at when it was read.
    pub(super) fn key(&self) -> [u8; 64] {
        let mut block = [0; 64];
        block.iter_mut().zip(base64::from_url(&self.key).unwrap_or_default()).for_each(|(to, from)| *to = from);
        block
    }

    /// Why it means nothing, if it does.
    fn fault(&self) -> Option<String> {
        if self.spec != SPEC {
            return Some(format!("it is no {SPEC}"));
        }
        if base64::from_url(&self.key).is_none_or(|key| key.len() != 32) {
            return Some("its key is none".to_owned());
        }
        if self.accounts.len() > MAX_ACCOUNTS {
            return Some(format!("it has more than {MAX_ACCOUNTS} accounts"));
        }
        self.accounts.iter().enumerate().find_map(|(number, account)| {
            let hex = |text: &str, digits| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            let sound = is_name(&account.name)
                && self.accounts.iter().take(number).all(|before| before.name != account.name)
                && hex(&account.id, 16)
                && account.password.as_ref().is_none_or(|password| password.is_sound() && account.token.is_none())
                && account.token.as_ref().is_none_or(|token| hex(token, 64))
                && account.expires.as_ref().is_none_or(|text| clock::parse_rfc3339(text).is_some());
            (!sound).then(|| format!("account {} of it is none, or is there twice", number + 1))
        })
    }
}

/// Where they are.
#[derive(Clone, Debug)]
pub struct AccountsFile {
    folder: PathBuf,
}

impl AccountsFile {
    /// Those of this folder, which need not be there.
    pub fn within(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// What is in it. `None`: there are no accounts.
    pub fn read(&self) -> Result<Option<Accounts>, AccessError> {
        if self.is_lost() {
            return Err(AccessError::Lost(shown(&self.path())));
        }
        Ok(self.read_stamped()?.map(|(accounts, _)| accounts).filter(|accounts| !accounts.accounts.is_empty()))
    }

    /// And which file that was. An empty list is given as such.
    pub(super) fn read_stamped(&self) -> Result<Option<(Accounts, Stamp)>, AccessError> {
        let damaged = |why: String| AccessError::Damaged { path: shown(&self.path()), why };
        let mut file = match File::open(self.path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        let mut bytes = Vec::new();
        let meta = file.metadata().map_err(|error| damaged(error.to_string()))?;
        if !meta.is_file() || meta.mode() & 0o077 != 0 {
            return Err(damaged(format!("others may use it (mode {:03o}): chmod 600", meta.mode() & 0o777)));
        }
        let read = Read::by_ref(&mut file).take(MAX_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| damaged(error.to_string()))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(damaged(format!("it has more than {MAX_BYTES} bytes")));
        }
        let accounts: Accounts =
            serde_json::from_slice(&bytes).map_err(|error| damaged(escape(&error.to_string()).into_owned()))?;
        match accounts.fault() {
            Some(why) => Err(damaged(why)),
            None => Ok(Some((accounts, Stamp::of(&meta)))),
        }
    }

    /// Adds an account, or with `replace` makes one of that name anew. Returns the token, if it has one: nobody can be told it again.
    pub fn add(
        &self,
        name: &str,
        scope: Scope,
        credential: Credential,
        replace: bool,
        dry_run: bool,
    ) -> Result<Option<String>, AccessError> {
        if !is_name(name) {
            return Err(AccessError::BadName(escape(name).into_owned()));
        }
        let drawn = |source| AccessError::Write { verb: "draw numbers for", path: shown(&self.path()), source };
        let mut account = Account {
            name: name.to_owned(),
            scope,
            id: hex(&random::<8>().map_err(drawn)?),
            created: clock::rfc3339(clock::now()),
            password: None,
            token: None,
            expires: None,
        };
        let mut token = None;
        match credential {
            Credential::Certificate => {}
            Credential::Password(password) => {
                account.password = Some(Password::of(&password).map_err(drawn)?.ok_or(AccessError::BadPassword)?);
            }
            Credential::Token(expires) => {
                let text = format!("pvra_{}", base64::url(&random::<32>().map_err(drawn)?));
                account.token = Some(super::sha256(text.as_bytes()));
                account.expires = expires.map(|seconds| {
                    clock::rfc3339(UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH))
                });
                token = Some(text);
            }
        }
        self.change(dry_run, |accounts| {
            let full = accounts.accounts.len() >= MAX_ACCOUNTS;
            match accounts.accounts.iter_mut().find(|account| account.name == name) {
                Some(_) if !replace => return Err(AccessError::Exists(name.to_owned())),
                Some(there) => *there = account,
                None if full => return Err(AccessError::Full),
                None => accounts.accounts.push(account),
            }
            Ok(())
        })?;
        Ok(token)
    }

    /// Removes an account. The last one only with `open`: then everybody is let in.
    pub fn remove(&self, name: &str, open: bool, dry_run: bool) -> Result<(), AccessError> {
        self.change(dry_run, |accounts| {
            let shown = || escape(name).into_owned();
            let at = accounts.accounts.iter().position(|account| account.name == name);
            let at = at.ok_or_else(|| AccessError::Unknown(shown()))?;
            if accounts.accounts.len() == 1 && !open {
                return Err(AccessError::Last(shown()));
            }
            accounts.accounts.remove(at);
            Ok(())
        })
    }

    fn change(
        &self,
        dry_run: bool,
        with: impl FnOnce(&mut Accounts) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let failed = |verb, path: &Path| {
            let path = shown(path);
            move |source| AccessError::Write { verb, path, source }
        };
        let path = self.path();
        let _lock = if dry_run { None } else { Some(self.lock().map_err(failed("lock", &self.folder))?) };
        let mut accounts = match self.read_stamped()? {
            Some((accounts, _)) => accounts,
            None => Accounts::new().map_err(failed("draw numbers for", &path))?,
        };
        with(&mut accounts)?;
        if dry_run {
            return Ok(());
        }
        // So that no request ever makes a file.
        attempts::prepare(&self.folder).map_err(failed("make files in", &self.folder))?;
        self.write(&accounts).map_err(failed("write", &path))?;
        attempts::begin(&self.folder).map_err(failed("make files in", &self.folder))
    }

    /// Whether the file has gone without anybody having said that everybody be let in: `remove` leaves an empty list.
    pub(super) fn is_lost(&self) -> bool {
        !self.path().exists() && attempts::begun(&self.folder)
    }

    /// The folder, made if it is not there, with a lock on it.
    fn lock(&self) -> io::Result<File> {
        let missing = self.folder.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let missing: Vec<_> = missing.collect();
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        // Accounts in a folder that a power cut takes away would leave the device open.
        for made in missing.into_iter().rev() {
            let parent = made.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            give_to_owner(&File::open(made)?, parent)?;
            sync(parent)?;
        }
        let folder = File::open(&self.folder)?;
        while let Err(error) = flock(&folder, FlockOperation::LockExclusive) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(folder)
    }

    /// Whole, durable, and then under its name.
    fn write(&self, accounts: &Accounts) -> io::Result<()> {
        let mut bytes = serde_json::to_vec_pretty(accounts)?;
        bytes.push(b'\n');
        let new = self.folder.join("access.json.new");
        // Only the holder of the lock makes this file, so that what is there was left by one that died.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        give_to_owner(&file, &self.folder)?;
        let written =
            file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, self.path()));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
        written?;
        sync(&self.folder)
    }
}

/// Makes the names in a folder durable.
fn sync(folder: &Path) -> io::Result<()> {
    match File::open(folder)?.sync_all() {
        // Some file systems have nothing to do for a folder and say so like this.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(()),
        synced => synced,
    }
}

/// Which file something was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self {
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// Whether an account can have this name: nothing that a URL, a header or a log line could not hold.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Bytes that nobody can guess. Early after a start of the machine, this waits for the kernel to have some.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(bytes)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn shown(path: &Path) -> String {
    escape(&path.to_string_lossy()).into_owned()
}
