//! Our verdict beside that of a real Pantavisor: 497 states, each put to it in each of its modes.
//!
//! `tests/vectors/g-device-verdict/cases.jsonl.gz` has a line for each: the text of the state, and what the daemon
//! answered. Where ours differs, `docs/differences.md` names the case (`g-device-verdict/<number>`); a difference that is
//! not written down fails the test, and so does one that is written down and no longer there.

mod verdicts;

use pvr_agent::sig::device::{Answer, Clock, Policy, Reason, verify};
use std::collections::BTreeSet;
use verdicts::{Case, MODES, cases, trust};

fn word(answer: Answer) -> String {
    serde_json::to_value(answer).unwrap().as_str().unwrap().to_owned()
}

#[path = "recorded/differences.rs"]
mod differences;

#[test]
fn as_the_daemon_answered() {
    let (trust, cases) = (trust(), cases());
    assert_eq!(cases.len(), 497);
    let named = differences::named("g-device-verdict");
    let mut differing = BTreeSet::new();
    let mut wrong = Vec::new();
    for case in &cases {
        for mode in MODES {
            let policy: Policy = mode.parse().unwrap();
            let verdict = verify(case.state.as_bytes(), &trust, policy, Clock::Unknown);
            let recorded = &case.verdict[mode];
            assert_eq!(verdict.accepted, verdict.device == Answer::Accepted, "{} {mode}", case.name);
            assert_eq!(verdict.accepted, verdict.refusals.is_empty(), "{} {mode}", case.name);
            // It takes nothing that it crashes over, and we do not crash.
            if word(verdict.device) != *recorded || recorded == "crash" {
                differing.insert(case.number().to_owned());
                if !named.contains(case.number()) {
                    let why = verdict.lines().join("; ");
                    wrong.push(format!("{} {mode}: recorded {recorded}, ours {:?} {why}", case.name, verdict.device));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(differing, named, "docs/differences.md names cases that do not differ");
}

/// A daemon that crashes takes nothing.
#[test]
fn what_makes_the_daemon_crash_is_refused() {
    let trust = trust();
    let mut crashes = 0;
    for case in cases().iter().filter(|case| case.verdict.values().any(|answer| answer == "crash")) {
        for policy in [Policy::Lenient, Policy::Audit, Policy::Strict, Policy::Hardened] {
            let verdict = verify(case.state.as_bytes(), &trust, policy, Clock::Unknown);
            assert!(!verdict.accepted && verdict.device == Answer::Crash, "{}: {verdict:?}", case.name);
        }
        crashes += 1;
    }
    assert_eq!(crashes, 7);
}

/// `hardened` never takes what `strict` does not; and of what that takes, it refuses these.
#[test]
fn what_hardened_refuses_besides() {
    let trust = trust();
    let mut refused: Vec<(String, BTreeSet<Reason>)> = Vec::new();
    let mut both = 0;
    let named = differences::named("g-device-verdict");
    for case in cases().into_iter().filter(|case| !named.contains(case.number())) {
        let hardened = verify(case.state.as_bytes(), &trust, Policy::Hardened, Clock::Unknown);
        if case.verdict["strict"] != "accepted" {
            assert!(!hardened.accepted, "{}", case.name);
            continue;
        }
        assert_eq!(hardened.device, Answer::Accepted, "{}: what a device would say", case.name);
        if hardened.accepted {
            both += 1;
        } else {
            let reasons = hardened.refusals.iter().map(|refusal| refusal.reason).collect();
            refused.push((case.number().to_owned(), reasons));
        }
    }
    let of = |reason: Reason| -> Vec<&str> {
        refused.iter().filter(|(_, reasons)| reasons.contains(&reason)).map(|(number, _)| number.as_str()).collect()
    };
    let lists = [
        (Reason::Ambiguous, verdicts::AMBIGUOUS),
        (Reason::Misplaced, verdicts::MISPLACED),
        (Reason::Stripped, verdicts::STRIPPED),
        (Reason::Algorithm, verdicts::ALGORITHM),
        (Reason::OnlyExcluded, verdicts::ONLY_EXCLUDED),
        (Reason::Expired, &[]),
    ];
    for (reason, want) in lists {
        assert_eq!(of(reason), want, "{reason:?}");
    }
    assert!(both > 60, "{both} are taken by both");
}

/// In 2027, one in three of the recorded certificates that are out of their dates is: the daemon takes them all.
#[test]
fn dates_count_where_the_time_is_known() {
    let trust = trust();
    const NEW_YEAR_2027: i64 = 1_798_761_600;
    let expired: Vec<String> = cases()
        .iter()
        .filter(|case| case.verdict["strict"] == "accepted")
        .filter(|case| {
            let verdict = verify(case.state.as_bytes(), &trust, Policy::Hardened, Clock::Right(NEW_YEAR_2027));
            verdict.refusals.iter().any(|refusal| refusal.reason == Reason::Expired)
        })
        .map(|case| case.number().to_owned())
        .collect();
    assert_eq!(expired, ["067", "068", "069"]);
    // Everything has expired in 2100; no other policy looks.
    let late = Clock::Right(4_102_444_800);
    for case in cases().iter().filter(|case| case.verdict["strict"] == "accepted") {
        assert!(verify(case.state.as_bytes(), &trust, Policy::Strict, late).accepted, "{}", case.name);
        assert!(!verify(case.state.as_bytes(), &trust, Policy::Hardened, late).accepted, "{}", case.name);
    }
}

/// Stripping: what a device takes for no signature any more is nothing to `lenient`, and refused by `hardened`.
#[test]
fn a_signature_that_is_none_any_more() {
    let trust = trust();
    for number in ["148", "149", "150", "151", "152", "153", "154", "162", "571", "573", "577"] {
        let case = Case::numbered(number);
        let lenient = verify(case.state.as_bytes(), &trust, Policy::Lenient, Clock::Unknown);
        assert!(lenient.accepted, "{}", case.name);
        let hardened = verify(case.state.as_bytes(), &trust, Policy::Hardened, Clock::Unknown);
        assert!(
            hardened.refusals.iter().any(|refusal| refusal.reason == Reason::Stripped),
            "{}: {hardened:?}",
            case.name
        );
    }
}
