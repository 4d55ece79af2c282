//! What can go wrong with logging in.

/// A login that did not come about. All texts are escaped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// A `WWW-Authenticate` that is not of the two kinds that are known.
    #[error("invalid www-authenticate header retrieved\n\t{url} answered: {header}")]
    Header {
        /// Who.
        url: String,
        /// What it says.
        header: String,
    },
    /// A request to log in that does not say where.
    #[error("{url} wants a login, and does not say where (no ph-aeps)")]
    NoEndpoint {
        /// Who.
        url: String,
    },
    /// An endpoint on another server than the one that asks.
    #[error(
        "{server} wants a login at {endpoint}, which is another server: {}",
        if *.asked { "refused" } else { "refused, because there is no terminal to ask on\nit would get the token of that one; --access-token gives it a token of its own" }
    )]
    OtherServer {
        /// Who asks.
        server: String,
        /// Where the login would be.
        endpoint: String,
        /// Whether somebody was asked.
        asked: bool,
    },
    /// A name is wanted, and nobody can be asked for one.
    #[error(
        "a login is needed at {endpoint}, and there is no terminal to ask on\ngive --access-token{}",
        if *.hub { ", or set PVR_USERNAME and PVR_PASSWORD" } else { ", or log in with pvr login first" }
    )]
    NobodyToAsk {
        /// Where.
        endpoint: String,
        /// Whether the credentials of the environment would be used there.
        hub: bool,
    },
    /// The endpoint lets nobody in under that name.
    #[error("{why}\n\tat {endpoint}")]
    Failed {
        /// Where.
        endpoint: String,
        /// What it says.
        why: String,
    },
    /// `auth.json`.
    #[error("{path} cannot be used: {why}")]
    Cache {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
    /// The terminal.
    #[error("cannot ask on the terminal: {0}")]
    Terminal(std::io::Error),
    /// Whoever was asked has gone.
    #[error("login cancelled")]
    Cancelled,
}
