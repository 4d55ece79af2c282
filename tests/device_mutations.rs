//! Signed states with something changed in what was signed, in who signed it, or in the signature: no device policy that
//! demands coverage may take one. Bytes are flipped, dropped and doubled.

#[path = "black_box/chance.rs"]
mod chance;
mod verdicts;

use chance::{Dice, rounds};
use pvr_agent::sig::base64;
use pvr_agent::sig::device::{Clock, Policy, verify};
use pvr_agent::state::JsonLimits;
use pvr_agent::state::parse::parse_strict;
use std::ops::Range;
use verdicts::{Case, trust};

/// RSA, each size of curve, DER, a chain, and pvr's own with three signatures.
const STATES: [&str; 7] = ["003", "004", "005", "006", "008", "060", "437"];

/// What is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Protected,
    Signature,
    /// A certificate's bytes, within the header.
    X5c,
    /// Names and values that are signed.
    Covered,
}

fn change(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() as u64) as usize;
    match dice.below(3) {
        0 => bytes[at] ^= 1 << dice.below(7),
        1 => drop(bytes.remove(at)),
        _ => bytes.insert(at, bytes[at]),
    }
}

/// Where the values of members of that name stand in a state.
fn strings(text: &str, name: &str) -> Vec<Range<usize>> {
    let begin = format!("\"{name}\":\"");
    let starts = text.match_indices(&begin).map(|(at, _)| at + begin.len());
    starts.map(|start| start..start + text[start..].find('"').unwrap()).collect()
}

/// Where what is signed stands: the keys that some signature includes.
fn covered(text: &str) -> Vec<Range<usize>> {
    let verdict = verify(text.as_bytes(), &trust(), Policy::Strict, Clock::Unknown);
    assert!(verdict.accepted, "{:?}", verdict.refusals);
    let included = verdict.keys.iter().filter(|report| !report.included.is_empty());
    included
        .map(|report| {
            let start = text.find(&format!("\"{}\":", report.key)).unwrap() + 1;
            let value = start + report.key.len() + 2;
            let length = match serde_json::Deserializer::from_str(&text[value..])
                .into_iter::<&serde_json::value::RawValue>()
                .next()
            {
                Some(Ok(raw)) => raw.get().len(),
                other => panic!("{}: {other:?}", report.key),
            };
            start..value + length
        })
        .collect()
}

struct Signed {
    name: String,
    text: String,
    places: Vec<(Place, Vec<Range<usize>>)>,
}

impl Signed {
    fn of(number: &str) -> Self {
        let case = Case::numbered(number);
        let (protected, signature) = (strings(&case.state, "protected"), strings(&case.state, "signature"));
        let covered = covered(&case.state);
        assert!(!protected.is_empty() && protected.len() == signature.len() && !covered.is_empty());
        let places = vec![
            (Place::X5c, protected.clone()),
            (Place::Protected, protected),
            (Place::Signature, signature),
            (Place::Covered, covered),
        ];
        Self { name: case.name, text: case.state, places }
    }

    /// The state with one change, and what was changed; none where it says the same as before.
    fn changed(&self, dice: &mut Dice) -> Option<(Place, Vec<u8>)> {
        let (place, ranges) = &self.places[dice.below(self.places.len() as u64) as usize];
        let range = ranges[dice.below(ranges.len() as u64) as usize].clone();
        let before = self.text.as_bytes()[range.clone()].to_vec();
        let mut after = before.clone();
        if *place == Place::X5c {
            after = x5c(&before, dice);
        } else {
            change(&mut after, dice);
        }
        let same = match place {
            // Another spelling of the same bytes, or of the same two numbers: a device takes a byte too many behind them.
            Place::Signature => numbers(&before).is_some() && numbers(&before) == numbers(&after),
            _ => before == after,
        };
        let text = [&self.text.as_bytes()[..range.start], &after, &self.text.as_bytes()[range.end..]].concat();
        (!same).then_some((*place, text))
    }
}

/// The bytes of a signature, without an odd one behind two halves.
fn numbers(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let mut bytes = base64::from_url(&text)?;
    if bytes.len() % 2 == 1 && bytes.first() != Some(&0x30) {
        bytes.pop();
    }
    Some(bytes)
}

/// A header with one byte of a certificate changed.
fn x5c(protected: &[u8], dice: &mut Dice) -> Vec<u8> {
    let text = base64::from_url(std::str::from_utf8(protected).unwrap()).unwrap();
    let mut header: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let list = header["x5c"].as_array_mut().unwrap();
    let at = dice.below(list.len() as u64) as usize;
    let mut der = base64::from_standard(list[at].as_str().unwrap()).unwrap();
    change(&mut der, dice);
    list[at] = base64::standard(&der).into();
    base64::url(&serde_json::to_vec(&header).unwrap()).into_bytes()
}

#[test]
fn nothing_that_was_changed_is_taken() {
    let signed: Vec<Signed> = STATES.iter().map(|number| Signed::of(number)).collect();
    let trust = trust();
    let mut dice = Dice::new("nothing_that_was_changed_is_taken");
    let (wanted, mut made) = (rounds(20_000, 600), std::collections::BTreeMap::new());
    while made.values().sum::<usize>() < wanted {
        let state = &signed[dice.below(signed.len() as u64) as usize];
        let Some((place, text)) = state.changed(&mut dice) else { continue };
        let verdict = verify(&text, &trust, Policy::Strict, Clock::Unknown);
        // To the daemon, `"a"::1` is `"a":1`. It is no JSON, and no state for anybody before it.
        let is_json = parse_strict(&text, &JsonLimits::default()).is_ok();
        assert!(
            !verdict.accepted || (place == Place::Covered && !is_json),
            "{} {place:?}: {}",
            state.name,
            String::from_utf8_lossy(&text)
        );
        let hardened = verify(&text, &trust, Policy::Hardened, Clock::Unknown);
        assert!(!hardened.accepted && hardened.device == verdict.device, "{} {place:?}", state.name);
        *made.entry(format!("{place:?}")).or_insert(0) += 1;
    }
    println!("{made:?}");
    assert!(made.len() == 4 && made.values().all(|count| count * 10 > wanted), "{made:?}");
}
