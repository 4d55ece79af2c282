//! `pvr-agent`: states, objects and revisions of a Pantavisor device, and who talks about them.
//!
//! A device is one JSON document, the *state*: keys are paths, values are inline JSON or the sha256 of an
//! *object*. A state on a device is a *revision*, a folder under `trails/` whose files are hardlinks into
//! `objects/`. This library holds everything the one binary does; `main` only decides what it is run as.
//!
//! The modules, from the bottom up. Imports point downwards only; `tests/module_order.rs` holds them to it.
//!
//! | module | what it is |
//! |---|---|
//! | [`state`] | the state JSON: parser, canonical form, merge patch, part selection, path rules |
//! | [`store`] | content-addressed objects on disk: write, verify, link, sweep, lock |
//! | [`net`] | the one HTTP/1.1 client |
//! | [`pvctrl`] | typed calls of Pantavisor's control socket |
//! | [`dm`] | dm-verity: hash trees over volumes, made and checked |
//! | [`sig`] | signatures of states: sign, read, verify |
//! | [`trails`] | revisions on disk: names, layout, install, progress, boot links, fsck, gc |
//! | [`remote`] | client side of the pvr REST protocol |
//! | [`repo`] | the working copy (`.pvr`): add, status, commit, checkout, get, post |
//! | [`pvtx`] | transactions: states that are put together of packages |
//! | [`device`] | what the endpoint acts on: a storage, and who runs what is installed there |
//! | [`endpoint`] | HTTP: routes, guards, limits, bodies |
//! | [`cli`] | command lines: parse, call, print |
#![forbid(unsafe_code)]

pub mod cli;
pub mod device;
pub mod dm;
pub mod endpoint;
pub mod net;
pub mod pvctrl;
pub mod pvtx;
pub mod remote;
pub mod repo;
pub mod sig;
pub mod state;
pub mod store;
pub mod trails;
