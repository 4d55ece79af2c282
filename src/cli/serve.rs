//! `pvr-agent serve`: the device endpoint on a socket.

use std::io::{ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum;

use super::announcement::{Announcement, STORAGE, Secured};
use super::place;
use super::secureboot;
use crate::device::{Device, Runner, RunningFile, User, confine};
use crate::endpoint::access::{AccountsFile, Exposure};
use crate::endpoint::config::{ETC_FILE, Listen, STATE_KEY};
use crate::endpoint::log::{Format, Level, Log};
use crate::endpoint::public::PublicUrl;
use crate::endpoint::{Ended, Endpoint, Limits, Listener, Stop, Tls};
use crate::state::escape;
use crate::trails::{Demands, Storage, factory};

/// Serve a storage on port 12368: what pvr clone, get and post talk to
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// The storage of the device; without, /storage, and where there is none, ./pvroot is made [env: PVR_AGENT_STORAGE]
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Work through this control socket of Pantavisor, or through none; without, the first that is found, unless --storage
    /// names another than /storage [env: PVR_AGENT_SOCKET]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// What becomes of a revision that is posted: run, run-commit or install [env: PVR_AGENT_ON_POST] [default: run]
    #[arg(long, value_name = "WHAT")]
    on_post: Option<String>,
    /// Where there is no room, have Pantavisor collect, unless something was uploaded and not run yet: it removes all
    /// revisions but the running one and the last that ran well [env: PVR_AGENT_GC=1]
    #[arg(long)]
    gc: bool,
    /// Keep in this folder what has to be kept; without, in .pvr-agent of a storage that can be written, else in
    /// /var/lib/pvr-agent, and locks in /run/pvr-agent [env: PVR_AGENT_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// The logs of Pantavisor and its containers; without, those in the storage, else /pantavisor/logs
    /// [env: PVR_AGENT_LOG_DIR]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// The address to listen on; 0.0.0.0 or :: for all [env: PVR_AGENT_LISTEN] [default: 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// The port to listen on; 0 for any [env: PVR_AGENT_PORT] [default: 12368]
    #[arg(long, value_name = "N")]
    port: Option<String>,
    /// Speak https with this certificate (PEM, chain behind it) [env: PVR_AGENT_TLS_CERT]
    #[arg(long, value_name = "FILE", conflicts_with = "tls_self_signed")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM: PKCS#8, PKCS#1 or SEC1) [env: PVR_AGENT_TLS_KEY]
    #[arg(long, value_name = "FILE", conflicts_with = "tls_self_signed")]
    tls_key: Option<PathBuf>,
    /// Speak https with the certificate and key in this folder, which are made if they are not there
    #[arg(long, value_name = "DIR")]
    tls_self_signed: Option<PathBuf>,
    /// Let in who shows a certificate of an authority in this file (PEM), as the account of its common name
    /// [env: PVR_AGENT_CLIENT_CA]
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// How long signed URLs are good for [env: PVR_AGENT_URL_HOURS] [default: 24]
    #[arg(long, value_name = "HOURS")]
    url_hours: Option<u32>,
    #[command(flatten)]
    secureboot: secureboot::SecureBoot,
    /// The configuration file to read instead of the state's and /etc/pvr-sdk/config.json
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Serve as this user, a name or UID:GID; takes root, and a storage that the user can write into
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// How log lines on standard error look
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    log_format: LogFormat,
    /// The URL under which clients see this server, if not the one they ask for [env: PVR_AGENT_PUBLIC_URL]
    #[arg(long, value_name = "URL")]
    public_url: Option<PublicUrl>,
    /// One more name that this device may be called by [env: PVR_AGENT_HOST]
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,
}

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Serves until a signal ends it.
pub fn run(args: Args) -> Result<ExitCode> {
    let json = super::limits::json()?;
    if let Some(name) = &args.user {
        User::find(name)?.become_it()?;
    }
    let runner = Runner::detect();
    let (demands, signatures) = args.secureboot.demands(args.config.as_deref())?;
    let open = |storage: Storage| Device::open(storage.with_json_limits(json), runner);
    let named = place::named_storage(args.storage.as_deref(), args.config.as_deref())?;
    let on_post = place::on_post(args.on_post.as_deref())?;
    let places = place::places(args.state_dir.as_deref(), args.log_dir.as_deref(), args.config.as_deref())?;
    let socket = place::socket(args.socket.as_deref(), named.as_deref());
    let there = match &socket {
        Some(socket) => Some(place::behind(socket, named.as_deref(), json, args.gc, args.state_dir.as_deref())?),
        None => storage_that_is_there(named.as_deref())?.map(open).transpose()?,
    };
    let url_time = place::url_time(args.url_hours)?;
    // The log has a thread of its own, which is not to have rights that this one is about to give up.
    let mut notes = Vec::new();
    let settings = settings(&args, there.as_ref(), &demands, &mut notes)?;
    let wanted = settings.listen.address();
    let listener = TcpListener::bind(wanted).map_err(|error| cannot_listen(wanted, &error))?;
    let address = listener.local_addr().context("ask for the address of the listener")?;
    let mut warnings: Vec<String> = settings.warning.iter().cloned().collect();
    let authority = authority(&args);
    let tls = believing(tls(&args, settings, address.ip(), &mut notes, &mut warnings)?, authority.as_deref())?;
    // Only now: a storage to try things with is of no use to who cannot listen.
    let device = match there {
        Some(device) => device,
        None => open(make_storage()?)?,
    };
    let device = device.on_post(on_post).demanding(demands).with_places(places);
    let exposure = Exposure { address, encrypted: tls.is_some() };
    let guarded = AccountsFile::within(device.accounts_folder()).read().map(|accounts| accounts.is_some());
    if matches!(guarded, Ok(false)) && authority.is_some() {
        return Err(anyhow!(
            "--client-ca is for those who have an account, and there is none: without any, everybody is let in, certificate or not\n\
             add those that the certificates are for: pvr-agent access add NAME --scope SCOPE --no-password"
        ));
    }
    let shown: Vec<String> = exposure.warning(guarded).into_iter().chain(warnings.iter().cloned()).collect();
    let (root, storage) = (device.place(), device.storage().filter(|_| socket.is_some()).map(Path::to_owned));
    let runner = if socket.is_some() { Runner::Pantavisor } else { runner };
    let secured = tls.as_ref().map(|tls| Secured {
        cert: &tls.files().cert,
        fingerprint: tls.fingerprint(),
        self_signed: args.tls_self_signed.is_some(),
    });
    let mut reach = device.reach();
    if let Some(tls) = &tls {
        // They are replaced while it serves.
        for file in [&tls.files().cert, &tls.files().key] {
            reach.read.extend(
                [Some(file.clone()), std::fs::canonicalize(file).ok()]
                    .iter()
                    .flatten()
                    .filter_map(|file| Some(file.parent()?.to_owned())),
            );
        }
    }
    let confined = confine(&reach);
    let log = Log::stderr(match args.log_format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    })
    .context("start the thread that writes the log")?;
    notes.iter().for_each(|note| log.note(Level::Warn, note));
    let _serving = device.serve(confined.clone());
    let back_end = if socket.is_some() { "control socket" } else { STORAGE };
    let storage = storage.as_deref();
    let text = Announcement {
        back_end,
        root: &root,
        storage,
        address,
        secured,
        runner,
        signatures,
        confined: &confined,
        warnings: &shown,
    }
    .to_string();
    // In one write, and if nobody reads it, it is served all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());

    let hosts = place::hosts(&args.host, args.public_url)?;
    let limits = Limits { url_time, ..Limits::default() }.with_json(&json);
    let endpoint = Endpoint::new(device, limits, hosts, log, warnings).at(exposure);
    let endpoint = Arc::new(endpoint.confined(confined));
    let listener = match tls {
        Some(tls) => Listener::https(listener, tls),
        None => listener.into(),
    };
    let ended = crate::endpoint::run(listener, Arc::clone(&endpoint), Stop::default(), true).context("serve")?;
    // The last lines are the ones that say why.
    endpoint.audit().flush();
    endpoint.log().flush();
    match ended {
        Ended::Drained => Ok(ExitCode::SUCCESS),
        Ended::Cut => Ok(ExitCode::from(1)),
    }
}

/// The storage that is named, or the device's, or the one that was made to try things with. One whose making was cut
/// short before it had a revision is made once more.
fn storage_that_is_there(named: Option<&Path>) -> Result<Option<Storage>> {
    if let Some(path) = named {
        return Ok(Some(Storage::open(path)?));
    }
    let usual = Storage::usual_place();
    if !usual.join("trails").is_dir() {
        return Ok(None);
    }
    let storage = Storage::open(&usual)?;
    let begun = usual.is_relative() && storage.names()?.is_empty();
    Ok(Some(storage).filter(|_| !begun))
}

/// One to try things with.
fn make_storage() -> Result<Storage> {
    let usual = Storage::usual_place();
    factory::make(&usual).with_context(|| format!("make a storage in '{}'", escape(&usual.to_string_lossy())))
}

/// Where and how to listen.
struct Settings {
    listen: Listen,
    /// Certificate and key are named by the running state.
    tls_is_posted: bool,
    /// What the running state says that does not count.
    warning: Option<String>,
}

/// Flag, environment, file; each value by itself. What the state says is somebody's post: a mistake there must
/// not keep the endpoint, which is how it would be mended, from starting.
fn settings(args: &Args, device: Option<&Device>, demands: &Demands, notes: &mut Vec<String>) -> Result<Settings> {
    const FLAGS: &str = "the command line";
    const ENV: &str = "the environment";
    let flags = Listen::from_texts(FLAGS, args.listen.as_deref(), args.port.as_deref())?.with_tls(
        FLAGS,
        args.tls_cert.clone(),
        args.tls_key.clone(),
    )?;
    let decided = |listen: &Listen| listen.tls.is_some() || args.tls_self_signed.is_some();
    // What a flag overrides is not even read, so it need not make sense.
    let env = |name: &str, overridden: bool| if overridden { None } else { std::env::var(name).ok() };
    let path = |name: &str| if decided(&flags) { None } else { std::env::var_os(name).map(PathBuf::from) };
    let address = env("PVR_AGENT_LISTEN", flags.address.is_some());
    let port = env("PVR_AGENT_PORT", flags.port.is_some());
    let (cert, key) = (path("PVR_AGENT_TLS_CERT"), path("PVR_AGENT_TLS_KEY"));
    let env = Listen::from_texts(ENV, address.as_deref(), port.as_deref())?.with_tls(ENV, cert, key)?;
    let first = flags.or(env);
    if let Some(file) = &args.config {
        let named = Listen::from_file(file)?;
        let named = named.with_context(|| format!("'{}' does not exist", escape(&file.to_string_lossy())))?;
        return Ok(Settings { listen: first.or(named), tls_is_posted: false, warning: None });
    }
    if first.address.is_some() && first.port.is_some() && decided(&first) {
        return Ok(Settings { listen: first, tls_is_posted: false, warning: None });
    }
    let running = device.map_or(Ok(None), |device| device.running_file(STATE_KEY, 64 * 1024));
    let running = match running {
        Ok(Some(RunningFile::Json(value))) => Listen::from_value(STATE_KEY, &value).map_err(|e| e.to_string()),
        Ok(Some(RunningFile::Bytes(bytes))) => Listen::from_bytes(STATE_KEY, &bytes).map_err(|e| e.to_string()),
        Ok(None) => Ok(Listen::default()),
        Err(error) => Err(error.to_string()),
    };
    let running = running.unwrap_or_else(|why| {
        notes.push(format!("ignoring the configuration in the running state: {why}"));
        Listen::default()
    });
    let vouched = || {
        let state = device.and_then(|device| device.state_text(None).ok());
        state.is_some_and(|state| demands.vouches_for(state.as_bytes(), STATE_KEY))
    };
    let (running, warning) = match running.address {
        // Whoever can post must not be able to open a device to a network by it, where signatures are asked for.
        Some(wide) if first.address.is_none() && !wide.to_canonical().is_loopback() && !vouched() => {
            let warning = format!(
                "the running state asks to listen on {wide}, which does not count: no good signature covers {STATE_KEY}"
            );
            notes.push(warning.clone());
            (Listen { address: None, ..running }, Some(warning))
        }
        _ => (running, None),
    };
    let etc = Listen::from_file(Path::new(ETC_FILE))?.unwrap_or_default();
    let tls_is_posted = first.tls.is_none() && running.tls.is_some();
    Ok(Settings { listen: first.or(running).or(etc), tls_is_posted, warning })
}

/// Who vouches for clients, if somebody does.
fn authority(args: &Args) -> Option<PathBuf> {
    let env = || std::env::var_os("PVR_AGENT_CLIENT_CA").filter(|path| !path.is_empty()).map(PathBuf::from);
    args.client_ca.clone().or_else(env)
}

/// The same for clients that may show a certificate of that authority.
fn believing(tls: Option<Tls>, authority: Option<&Path>) -> Result<Option<Tls>> {
    match (tls, authority) {
        (Some(tls), Some(file)) => Ok(Some(tls.believing(file)?)),
        (None, Some(_)) => Err(anyhow!(
            "--client-ca takes https\ngive a certificate with --tls-cert and --tls-key, or --tls-self-signed"
        )),
        (tls, None) => Ok(tls),
    }
}

/// The certificate to speak https with, if one is asked for.
fn tls(
    args: &Args,
    settings: Settings,
    listen: IpAddr,
    notes: &mut Vec<String>,
    warnings: &mut Vec<String>,
) -> Result<Option<Tls>> {
    let tls = match (&args.tls_self_signed, settings.listen.tls) {
        (None, None) => return Ok(None),
        (Some(folder), _) => {
            let public = args.public_url.as_ref().map(|url| url.host().to_owned());
            let names: Vec<_> = args.host.iter().cloned().chain(public).collect();
            Tls::self_signed(folder, listen, &names)?
        }
        (None, Some(files)) if settings.tls_is_posted => match Tls::load(files.clone()) {
            Ok(tls) => tls,
            Err(error) => {
                let warning =
                    format!("the running state asks for https, and its certificate cannot be served: {error}");
                notes.push(warning.clone());
                warnings.push(warning.replace('\n', "; "));
                // Without TLS in this build, plain HTTP is the only way to mend the state.
                return Ok(Tls::load_later(files, listen).ok());
            }
        },
        (None, Some(files)) => Tls::load(files)?,
    };
    warnings.extend(tls.warnings(Some(listen)));
    Ok(Some(tls))
}

/// Usually because today's server, or another one of this program, is there already.
fn cannot_listen(wanted: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::AddrInUse => "\nanother program listens there: stop it, or choose a port with --port",
        ErrorKind::AddrNotAvailable => "\nthis machine does not have that address: choose one with --listen",
        ErrorKind::PermissionDenied => "\nports below 1024 take root: choose one with --port",
        _ => "",
    };
    anyhow!("listen on {wanted}: {error}{hint}")
}
