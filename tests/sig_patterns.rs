//! What the original `pvr` has signed with one key, made again: the same signature means the same header, the same selection by its
//! patterns and the same payload, to the byte. RS256 has one signature for each message.

use std::fs;
use std::path::Path;

use pvr_agent::sig::base64;
use pvr_agent::sig::jws::{Document, Patterns};
use pvr_agent::sig::key::PrivateKey;
use pvr_agent::sig::payload::Selection;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Value};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    key: String,
    /// Certificates, in base64.
    chains: Vec<Vec<String>>,
    states: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    state: usize,
    chain: Option<usize>,
    include: Vec<String>,
    exclude: Vec<String>,
    /// The first 43 characters.
    signature: String,
}

/// Patterns with a syntax that is wrong where the original does not come to look: a `\` at the end. Here they are errors.
const REFUSED: [&str; 1] = ["479-pvr-glob-a_xB"];

#[test]
fn signatures_of_the_original() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/d-sig/patterns.json");
    let vectors: Vectors = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let key = PrivateKey::from_pem(&vectors.key).unwrap();
    let (mut same, mut wrong) = (0, Vec::new());
    for case in &vectors.cases {
        let Ok(Value::Object(state)) = parse_strict(vectors.states[case.state].as_bytes(), &JsonLimits::default())
        else {
            panic!("{}", case.name)
        };
        let patterns = Patterns { include: case.include.clone(), exclude: case.exclude.clone() };
        let selection = match Selection::of(&state, &patterns) {
            Ok(selection) => selection,
            Err(error) => {
                if !REFUSED.contains(&case.name.as_str()) {
                    wrong.push(format!("{}: {error}", case.name));
                }
                continue;
            }
        };
        let payload = selection.payload(&state).unwrap();
        let chain = case
            .chain
            .map(|at| vectors.chains[at].iter().map(|text| base64::from_standard(text).unwrap()).collect::<Vec<_>>());
        let document = Document::sign(&key, &patterns, chain.as_deref(), payload.as_bytes()).unwrap();
        if base64::url(&document.signature).starts_with(&case.signature) && !REFUSED.contains(&case.name.as_str()) {
            same += 1;
        } else {
            wrong.push(format!("{}: {patterns:?} selects {:?}", case.name, selection.selected));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{same} signatures are those of the original");
    assert_eq!(same + REFUSED.len(), vectors.cases.len());
    assert!(same > 90, "{same}");
}
