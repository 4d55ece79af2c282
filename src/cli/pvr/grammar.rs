//! Flags as today's program takes them (`cli.md` §1), as clap wants them.
//!
//! One dash or two, whatever the length: `-message x` is `--message x`, `--m x` is `-m x`. `--flag=false` takes a switch
//! back, `--flag=true` is the switch. What stands behind `--` is left alone.

use std::ffi::OsString;

/// Every long name, with whether it is a switch.
const LONG: &[(&str, bool)] = &[
    ("access-token", false),
    ("baseurl", false),
    ("cacert", false),
    ("canonical", true),
    ("checkpoint", true),
    ("clean", true),
    ("commit-msg", false),
    ("config-dir", false),
    ("debug", true),
    ("disable-self-upgrade", true),
    ("dry-run", true),
    ("envelope", false),
    ("force", true),
    ("hardlink", true),
    ("help", true),
    ("http-proxy", false),
    ("insecure", true),
    ("merge", true),
    ("json", true),
    ("message", false),
    ("nomerge", true),
    ("objects", false),
    ("raw", true),
    ("repo-baseurl", false),
    ("rev", false),
    ("spec", false),
    ("version", true),
];

/// Short names of more than one letter.
const LONGER_SHORT: &[(&str, &str)] = &[("hl", "hardlink")];

/// Rewrites arguments.
pub(super) fn rewrite(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut verbatim = false;
    args.filter_map(move |arg| {
        verbatim |= arg == "--";
        if verbatim {
            return Some(arg);
        }
        match arg.to_str() {
            Some(text) => flag(text).map_or(Some(arg), |rewritten| rewritten.map(OsString::from)),
            None => Some(arg),
        }
    })
}

/// `None`: as it is. `Some(None)`: it goes.
fn flag(arg: &str) -> Option<Option<String>> {
    let name = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?;
    let (name, value) = match name.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (name, None),
    };
    let name = LONGER_SHORT.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long);
    let known = LONG.iter().find(|(long, _)| *long == name);
    let dashes = match (known, name.chars().count()) {
        (Some(_), _) => "--",
        (None, 1) => "-",
        (None, _) => return None,
    };
    let is_switch = known.is_some_and(|(_, switch)| *switch);
    match value {
        Some("false" | "0" | "f") if is_switch => Some(None),
        Some("true" | "1" | "t") if is_switch => Some(Some(format!("{dashes}{name}"))),
        Some(value) => Some(Some(format!("{dashes}{name}={value}"))),
        None => Some(Some(format!("{dashes}{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::rewrite;
    use std::ffi::OsString;

    #[test]
    fn dashes() {
        for (given, wanted) in [
            ("commit -message x", "commit --message x"),
            ("commit --m x", "commit -m x"),
            ("commit -m=x", "commit -m=x"),
            ("checkout -hl", "checkout --hardlink"),
            ("checkout --hl", "checkout --hardlink"),
            ("checkout -canonical=true", "checkout --canonical"),
            ("checkout --canonical=false x", "checkout x"),
            ("post --rev -1", "post --rev -1"),
            ("post -rev=-1", "post --rev=-1"),
            ("post -unknown", "post -unknown"),
            ("add -- -raw", "add -- -raw"),
            ("-a t get -", "-a t get -"),
        ] {
            let got: Vec<_> = rewrite(given.split(' ').map(OsString::from)).collect();
            let wanted: Vec<_> = wanted.split(' ').map(OsString::from).collect();
            assert_eq!(got, wanted, "{given}");
        }
    }
}
