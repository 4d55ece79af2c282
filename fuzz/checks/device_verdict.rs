//! The verdict of a device: what a policy takes, every weaker one takes. The input is a state; one that does not begin as
//! such is the header of a signature in a state.

use pvr_agent::sig::base64;
use pvr_agent::sig::device::{Answer, Clock, Policy, Trust, compare, verify};

/// From the strongest to the weakest.
const POLICIES: [Policy; 5] = [Policy::Hardened, Policy::Strict, Policy::Audit, Policy::Lenient, Policy::Disabled];

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let trust = Trust::from_pem(include_str!("../../tests/vectors/g-device-verdict/trust.crt")).expect("a trust store");
    let wrapped;
    let state = if data.starts_with(b"{\"#spec\"") {
        data
    } else {
        let protected = base64::url(data);
        wrapped = format!(
            r##"{{"#spec":"pantavisor-service-system@1","_sigs/a.json":{{"#spec":"pvs@2","protected":"{protected}","signature":"AAAA"}},"a/x":"ab"}}"##
        );
        wrapped.as_bytes()
    };
    let mut stronger = None;
    for policy in POLICIES {
        let verdict = verify(state, &trust, policy, Clock::Unknown);
        assert_eq!(verdict.accepted, verdict.refusals.is_empty());
        assert!(!verdict.accepted || verdict.device == Answer::Accepted);
        assert!(stronger != Some(true) || verdict.accepted, "{policy} is weaker, and refuses: {:?}", verdict.refusals);
        assert!(verdict.lines().len() <= 21);
        stronger = Some(verdict.accepted);
        assert!(verdict.shortened().keys.len() <= 256);
    }
    let _ = compare::disagreements(state);
}
