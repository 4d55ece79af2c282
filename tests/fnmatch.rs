//! The device's matcher beside musl's `fnmatch`, which is the one in Pantavisor's initial ram disk: random pairs of pattern
//! and key, with `FNM_PATHNAME` alone and with `FNM_LEADING_DIR`. A C program of a few lines answers for musl.

#[path = "black_box/chance.rs"]
mod chance;

use chance::{Dice, rounds, skip};
use pvr_agent::sig::fnmatch::{Pattern, Work};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Reads `<flags>\0<pattern>\0<key>\0…`, `l` for both flags, and writes `1` or `0` for each.
const ORACLE: &str = r#"
#define _GNU_SOURCE
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    char *line[3] = {0};
    size_t room[3] = {0};
    for (;;) {
        for (int i = 0; i < 3; i++)
            if (getdelim(&line[i], &room[i], 0, stdin) <= 0) return i != 0;
        int flags = FNM_PATHNAME | (line[0][0] == 'l' ? FNM_LEADING_DIR : 0);
        putchar(fnmatch(line[1], line[2], flags) == 0 ? '1' : '0');
    }
}
"#;

/// A pattern, a key, and whether the beginning of the key is enough.
type Pair = (Vec<u8>, Vec<u8>, bool);

fn oracle(compiler: &str, folder: &Path) -> std::path::PathBuf {
    let (source, program) = (folder.join("oracle.c"), folder.join(compiler));
    std::fs::write(&source, ORACLE).unwrap();
    let built = Command::new(compiler).arg("-O1").arg("-o").arg(&program).arg(&source).status().unwrap();
    assert!(built.success(), "{compiler} does not compile the oracle");
    program
}

fn ask(program: &Path, pairs: &[Pair]) -> Vec<bool> {
    let mut input = Vec::new();
    for (pattern, key, leading) in pairs {
        input.extend_from_slice(if *leading { b"l\0" } else { b"p\0" });
        for text in [pattern, key] {
            input.extend_from_slice(text);
            input.push(0);
        }
    }
    let mut child =
        Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).env("LC_ALL", "C").spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout.len(), pairs.len());
    output.stdout.iter().map(|byte| *byte == b'1').collect()
}

fn ours((pattern, key, leading): &Pair) -> bool {
    Pattern::new(pattern, *leading).matches(key, &mut Work(u64::MAX)).unwrap()
}

/// Bytes that mean something, and some that don't.
const KEY: &[u8] = b"aab/b/c.-_A1 ]![^:\\\x7f\xc3\xa9\xff";
const PATTERN: [&[u8]; 34] = [
    b"a",
    b"b",
    b"c",
    b"/",
    b"/",
    b"*",
    b"*",
    b"?",
    b"[ab]",
    b"[!a]",
    b"[^b]",
    b"[a-c]",
    b"[]a]",
    b"[-a]",
    b"[a-]",
    b"[[:alpha:]]",
    b"[[:upper:]b]",
    b"[![:digit:]]",
    b"[[:punct:]]",
    b"[[.a.]]",
    b"[[=a=]]",
    b"[",
    b"]",
    b"-",
    b"\\",
    b"\\*",
    b"\\/",
    b"**",
    b":",
    b"!",
    b"[\\a]",
    b"[a/b]",
    b"\xc3\xa9",
    b"[\xc3-\xff]",
];

fn key(dice: &mut Dice) -> Vec<u8> {
    (0..dice.below(9)).map(|_| KEY[dice.below(KEY.len() as u64) as usize]).collect()
}

/// One that has a chance to match: made of the key, piece by piece, with something broader here and there.
fn pattern_for(key: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut pattern = Vec::new();
    let mut at = 0;
    while at < key.len() {
        let byte = key[at];
        match dice.below(12) {
            0 => pattern.extend_from_slice(b"?"),
            1 | 2 => {
                pattern.push(b'*');
                at += dice.below(3) as usize;
            }
            3 => pattern.extend_from_slice(&[b'[', byte, b'z', b']']),
            4 => pattern.extend_from_slice(&[b'\\', byte]),
            5 => pattern.extend_from_slice(b"[!q]"),
            _ => pattern.push(byte),
        }
        at += 1;
    }
    if dice.below(10) == 0 {
        let noise = PATTERN[dice.below(PATTERN.len() as u64) as usize];
        pattern.extend_from_slice(noise);
    }
    pattern
}

fn pairs(count: usize, dice: &mut Dice) -> Vec<Pair> {
    let mut made = Vec::with_capacity(count);
    for number in 0..count {
        let mut name = key(dice);
        let pattern = if number % 2 == 0 {
            pattern_for(&name, dice)
        } else {
            (0..dice.below(6)).flat_map(|_| PATTERN[dice.below(PATTERN.len() as u64) as usize]).copied().collect()
        };
        let leading = dice.below(2) == 0;
        if leading && dice.below(2) == 0 {
            name.extend_from_slice(b"/more/below");
        }
        made.push((pattern, name, leading));
    }
    made
}

#[test]
fn the_same_as_musl() {
    if Command::new("musl-gcc").arg("--version").output().is_err() {
        return skip("the_same_as_musl", "there is no musl-gcc (musl-tools)");
    }
    let folder = tempfile::tempdir().unwrap();
    let musl = oracle("musl-gcc", folder.path());
    let mut dice = Dice::new("the_same_as_musl");
    let pairs = pairs(rounds(100_000, 2_000), &mut dice);
    let theirs = ask(&musl, &pairs);
    let matches = theirs.iter().filter(|matches| **matches).count();
    println!("{} pairs, {matches} of them match", pairs.len());
    assert!(matches * 10 >= pairs.len() * 3, "too few of {} pairs match: {matches}", pairs.len());
    for (pair, theirs) in pairs.iter().zip(&theirs) {
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        assert_eq!(ours(pair), *theirs, "{:?} {:?} leading {}", show(&pair.0), show(&pair.1), pair.2);
    }
}

/// What `docs/differences.md` says of glibc, whose matcher answered for the recorded verdicts: on these musl's, ours
/// and glibc's don't agree, and on nothing that a signature of today has.
#[test]
fn where_glibc_is_another() {
    let text = |text: &str| text.as_bytes().to_vec();
    let differing: Vec<Pair> = [("[\\a]", "\\"), ("[[.a.]]", "a"), ("[[=a=]]", "a"), ("a\\", "a\\")]
        .map(|(pattern, key)| (text(pattern), text(key), false))
        .to_vec();
    assert_eq!(differing.iter().map(ours).collect::<Vec<_>>(), [true, false, false, true]);
    let folder = tempfile::tempdir().unwrap();
    if Command::new("musl-gcc").arg("--version").output().is_ok() {
        let musl = ask(&oracle("musl-gcc", folder.path()), &differing);
        assert_eq!(musl, [true, false, false, true]);
    }
    if cfg!(all(target_os = "linux", target_env = "gnu")) && Command::new("gcc").arg("--version").output().is_ok() {
        let glibc = ask(&oracle("gcc", folder.path()), &differing);
        assert_eq!(glibc, [false, true, true, false], "glibc");
    }
}
