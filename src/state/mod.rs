//! The state JSON and everything that can be said about it without a disk.
//!
//! A state is one JSON object. `#spec` names its kind; every other key is the path of a file. A value is either
//! the sha256 of an object (64 lower-case hex digits) or, for keys that end in `.json`, the content of that
//! file itself (`cli.md` §5). What devices store, sign and compare is its *canonical form*: one spelling for
//! every value, byte for byte (`cli.md` §11).
//!
//! | file | what |
//! |---|---|
//! | [`json`] | the values, with numbers as they were written |
//! | [`parse`] | one parser, two strictnesses |
//! | [`canonical`] | the one spelling that is stored and signed |
//! | [`pretty`] | spellings for people |
//! | [`id`], [`path`], [`revision`] | names from outside, parsed once |
//! | [`document`] | a whole state, checked |
//! | [`part`] | part selection: `#a,b,-c` |
//! | [`patch`] | RFC 7396 merge patch |
//! | [`progress`] | how far a revision has come |
//! | [`update`] | how an update goes and how it ends |
//! | [`mod@escape`] | showing names that may hold anything |
//! | [`clock`] | what time it is, and how that is written |

pub mod canonical;
pub mod clock;
pub mod document;
pub mod escape;
pub mod id;
pub mod json;
pub mod parse;
pub mod part;
pub mod patch;
pub mod path;
pub mod pretty;
pub mod progress;
pub mod revision;
pub mod update;

pub use document::{Entry, Finding, Spec, State, StateError};
pub use escape::{escape, escape_json, escape_text};
pub use id::ObjectId;
pub use json::{Number, Object, Value};
pub use parse::{JsonError, JsonLimits, JsonWarning};
pub use part::PartSelection;
pub use path::StatePath;
pub use progress::{Progress, Status};
pub use revision::Revision;
pub use update::{Course, Ended, Following, Heard, Seen};
