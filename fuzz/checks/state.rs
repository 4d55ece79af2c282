//! State JSON, strict and lenient, and its canonical form: whatever is taken has one spelling, and that spelling is a
//! fixed point that means the same.

use pvr_agent::state::canonical::to_canonical_within;
use pvr_agent::state::parse::{parse_lenient, parse_strict};
use pvr_agent::state::{JsonLimits, Spec, State};

/// Numbers such as `1e99999` are spelled out: enough for every number that fits the input.
const LIMIT: usize = 1 << 20;

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let limits = JsonLimits::default();
    if let Ok((value, _)) = parse_lenient(data, &limits) {
        let _ = to_canonical_within(&value, LIMIT);
    }
    let Ok(value) = parse_strict(data, &limits) else { return };
    if let Ok(text) = to_canonical_within(&value, LIMIT) {
        let roomy = JsonLimits { bytes: LIMIT, ..limits };
        let again = parse_strict(text.as_bytes(), &roomy).expect("a canonical form is JSON");
        assert_eq!(to_canonical_within(&again, LIMIT).as_deref(), Ok(&*text), "a canonical form is its own");
    }
    let Ok(state) = State::from_value(value, Spec::Known) else { return };
    for (key, _) in state.entries() {
        assert!(!key.as_str().starts_with('/') && !key.as_str().split('/').any(|part| part == ".."));
    }
    if let Ok(text) = state.to_canonical() {
        let again = State::parse_strict(text.as_bytes(), &JsonLimits { bytes: text.len(), ..limits }, Spec::Known)
            .expect("a state's canonical form is that state");
        assert_eq!(again.to_canonical().as_deref(), Ok(&*text));
    }
}
