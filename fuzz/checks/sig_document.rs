//! Signatures: document, header, patterns, chain. What is read twice is read alike.

use pvr_agent::sig::chain_pvr;
use pvr_agent::sig::jws::{Document, Header};
use pvr_agent::sig::payload::Selection;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, Value};

const STATE: &str = r##"{"#spec":"x","_sigs/a.json":{},"a/b/c":{},"a/run.json":{},"b":{},"src.json":{}}"##;

/// Panics when anything is not as it should be.
pub fn run(bytes: &[u8]) {
    Header::parse(bytes).ok();
    let Ok(document) = Document::parse(bytes, &JsonLimits::default()) else { return };
    let again = Document::parse(document.write(None).as_bytes(), &JsonLimits::default());
    assert_eq!(again.as_ref(), Ok(&document));
    let Ok(Value::Object(state)) = parse_strict(STATE.as_bytes(), &JsonLimits::default()) else { return };
    if let Ok(selection) = Selection::of(&state, &document.header.patterns) {
        let parts = [&selection.selected, &selection.excluded, &selection.not_seen];
        assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), state.len());
    }
    if let Some(x5c) = &document.header.x5c
        && let Ok(chain) = chain_pvr::read(x5c)
    {
        chain_pvr::validate(&chain, &chain, 1_798_761_600).ok();
    }
}
