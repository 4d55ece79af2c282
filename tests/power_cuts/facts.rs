//! What was reported as done, and when: how long the log of the disk was by then.

use std::collections::BTreeMap;

/// Something that has one state after the other.
#[derive(Default)]
pub struct Course {
    /// Each state, and when it was reported.
    states: Vec<(usize, String)>,
}

impl Course {
    /// What is wrong with a state that is found where the log ends at `moment`.
    pub fn wrong(&self, found: &str, moment: usize) -> Option<String> {
        let reported = self.states.iter().rposition(|(when, _)| *when <= moment)?;
        if self.states[reported..].iter().any(|(_, state)| state == found) {
            return None;
        }
        let what = match self.states.iter().position(|(_, state)| state == found) {
            Some(old) => format!("is in state {old}"),
            None => format!("is in a state that it never was in ({found})"),
        };
        Some(format!("{what}, though {reported} had been reported ({})", self.states[reported].1))
    }

    /// Whether it has been reported once.
    pub fn has_begun(&self, moment: usize) -> bool {
        self.states.first().is_some_and(|(when, _)| *when <= moment)
    }
}

/// Everything that was reported.
#[derive(Default)]
pub struct Facts {
    /// When what the tests themselves made was durable. Before that there is nothing to hold anybody to.
    pub begun: usize,
    /// Objects of the storage.
    pub objects: Vec<(usize, String)>,
    /// Revisions of the storage with their states.
    pub revisions: Vec<(usize, String, String)>,
    pub courses: BTreeMap<&'static str, Course>,
}

impl Facts {
    pub fn state(&mut self, course: &'static str, when: usize, state: String) {
        self.courses.entry(course).or_default().states.push((when, state));
    }

    pub fn count(&self) -> usize {
        let states = self.courses.values().map(|course| course.states.len()).sum::<usize>();
        self.objects.len() + self.revisions.len() + states
    }
}
