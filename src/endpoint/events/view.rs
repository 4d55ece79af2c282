//! What a client is told of a revision at one moment, and the id of that.

use serde::Serialize;

use crate::device::Outlook;
use crate::state::{Ended, Progress};

/// What is known of a revision. The id is another one as soon as anything of it is.
#[derive(Debug)]
pub(super) struct View {
    rev: String,
    id: String,
    /// None: there is no such revision any more.
    outlook: Option<Outlook>,
}

#[derive(Serialize)]
struct Document<'a> {
    rev: &'a str,
    id: &'a str,
    progress: Option<&'a Progress>,
    #[serde(rename = "overtaken-by", skip_serializing_if = "Option::is_none")]
    overtaken_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<&'a str>,
}

#[derive(Serialize)]
struct End<'a> {
    rev: &'a str,
    ended: &'a str,
    #[serde(rename = "overtaken-by", skip_serializing_if = "Option::is_none")]
    overtaken_by: Option<&'a str>,
}

impl View {
    pub(super) fn of(rev: &str, outlook: Outlook) -> Self {
        Self::new(rev, Some(outlook))
    }

    pub(super) fn gone(rev: &str) -> Self {
        Self::new(rev, None)
    }

    fn new(rev: &str, outlook: Option<Outlook>) -> Self {
        let mut view = Self { rev: rev.to_owned(), id: String::new(), outlook };
        // Reading bytes in memory does not fail.
        let hash = crate::store::hash(view.document().as_slice()).map(|hash| hash.to_string()).unwrap_or_default();
        view.id = hash.chars().take(16).collect();
        view
    }

    pub(super) fn rev(&self) -> &str {
        &self.rev
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn outlook(&self) -> Option<&Outlook> {
        self.outlook.as_ref()
    }

    fn progress(&self) -> Option<&Progress> {
        self.outlook.as_ref().and_then(|outlook| outlook.progress.as_ref())
    }

    /// What newer revision has begun; see [`Outlook`].
    pub(super) fn overtaken(&self) -> Option<&str> {
        self.outlook.as_ref().and_then(|outlook| outlook.overtaken.as_deref())
    }

    /// The word for how it ended.
    pub(super) fn ended(&self) -> Option<String> {
        let Some(outlook) = &self.outlook else { return Some(Ended::Gone.word().to_owned()) };
        outlook.progress.as_ref().and_then(Ended::of).map(|ended| ended.word().to_owned())
    }

    /// Whether a client with this id has been told everything, the end included.
    pub(super) fn is_over_for(&self, known: Option<&str>) -> bool {
        self.ended().is_some() && known.and_then(|known| known.strip_suffix(".end")) == Some(&*self.id)
    }

    /// The plain answer.
    pub(super) fn document(&self) -> Vec<u8> {
        let ended = self.ended();
        let (progress, overtaken_by) = (self.progress(), self.overtaken());
        json(&Document { rev: &self.rev, id: &self.id, progress, overtaken_by, ended: ended.as_deref() })
    }

    /// The event that says what the revision says; none where that cannot be read.
    pub(super) fn event(&self) -> Option<Vec<u8>> {
        // One line: nothing in it is broken up, and line breaks in texts are escaped.
        self.progress().map(|progress| event(&self.id, "progress", &progress.to_bytes()))
    }

    /// The last event.
    pub(super) fn end(&self, ended: &str) -> Vec<u8> {
        let end = End { rev: &self.rev, ended, overtaken_by: self.overtaken() };
        event(&format!("{}.end", self.id), "end", &json(&end))
    }
}

fn event(id: &str, name: &str, data: &[u8]) -> Vec<u8> {
    [format!("id: {id}\nevent: {name}\ndata: ").as_bytes(), data, b"\n\n"].concat()
}

/// Strings and numbers have no way not to serialise.
fn json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(progress: &str, overtaken: Option<&str>) -> View {
        let overtaken = overtaken.map(str::to_owned);
        View::of("locals/a", Outlook { progress: Progress::parse(progress.as_bytes()), overtaken })
    }

    #[test]
    fn the_id_is_another_one_whenever_anything_is() {
        let all = [
            view(r#"{"status":"NEW"}"#, None),
            view(r#"{"status":"NEW"}"#, Some("b")),
            view(r#"{"status":"NEW","progress":1}"#, None),
            view(r#"{"status":"NEW","logs":"x"}"#, None),
            view("", None),
            View::gone("locals/a"),
        ];
        let ids: std::collections::BTreeSet<_> = all.iter().map(View::id).collect();
        assert_eq!(ids.len(), all.len());
        assert_eq!(view(r#"{"status":"NEW"}"#, None).id(), all[0].id());
    }

    #[test]
    fn events_are_lines_whatever_is_in_them() {
        let view = view(r#"{"status":"ERROR","status-msg":"a\nb\r\n\ndata: c","logs":"\u0000\u2028"}"#, None);
        let text = String::from_utf8(view.event().unwrap()).unwrap();
        let lines: Vec<_> = text.split('\n').collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[2].starts_with("data: {\"status\":\"ERROR\"") && !text.contains('\r'), "{text}");
        let end = String::from_utf8(view.end("ERROR")).unwrap();
        assert!(end.ends_with("event: end\ndata: {\"rev\":\"locals/a\",\"ended\":\"ERROR\"}\n\n"), "{end}");
        assert!(view.is_over_for(Some(&format!("{}.end", view.id()))) && !view.is_over_for(Some(view.id())));
    }
}
