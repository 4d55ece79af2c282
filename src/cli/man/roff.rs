//! The language of manual pages, as little of it as they need: `man(7)`.
//!
//! A line that begins with a dot is an order. Everything else is text, in which a backslash, and a dot or a quote at the
//! beginning of a line, have to be told from what they mean otherwise. Dashes are written so that they stay dashes, for
//! people who copy a flag from the page.

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Roff(String);

impl Roff {
    /// `.TH` and the like, with arguments.
    pub(super) fn order(&mut self, name: &str, args: &[&str]) {
        self.0.push('.');
        self.0.push_str(name);
        for arg in args {
            self.0.push_str(&format!(" \"{}\"", escaped(arg)));
        }
        self.0.push('\n');
    }

    /// Text; what an empty line parts are paragraphs.
    pub(super) fn text(&mut self, text: &str) {
        for (at, paragraph) in text.trim().split("\n\n").enumerate() {
            if at > 0 {
                self.order("IP", &[""]);
            }
            self.line(&escaped(&paragraph.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }

    /// A line of pieces, in bold or not.
    pub(super) fn pieces(&mut self, pieces: &[(bool, &str)]) {
        let piece = |(bold, text): &(bool, &str)| match bold {
            true => format!("\\fB{}\\fR", escaped(text)),
            false => escaped(text),
        };
        self.line(&pieces.iter().map(piece).collect::<String>());
    }

    fn line(&mut self, line: &str) {
        if line.starts_with(['.', '\'']) {
            self.0.push_str("\\&");
        }
        self.0.push_str(line);
        self.0.push('\n');
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\(rs"),
            '-' => out.push_str("\\-"),
            '"' => out.push_str("\\(dq"),
            '\'' => out.push_str("\\(aq"),
            '`' => out.push_str("\\(ga"),
            '^' => out.push_str("\\(ha"),
            '~' => out.push_str("\\(ti"),
            '\n' => out.push(' '),
            c if c.is_ascii() => out.push(c),
            c => out.push_str(&format!("\\[u{:04X}]", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_an_order() {
        let mut roff = Roff::default();
        roff.text(".SH \\fBx\n'y\n\n'z \"a\" ~/b c…");
        roff.order("SS", &["a \"b\""]);
        roff.pieces(&[(true, ".x"), (false, " -y")]);
        let text = "\\&.SH \\(rsfBx \\(aqy\n.IP \"\"\n\\(aqz \\(dqa\\(dq \\(ti/b c\\[u2026]\n.SS \"a \\(dqb\\(dq\"\n\
                    \\fB.x\\fR \\-y\n";
        assert_eq!(roff.finish(), text);
    }
}
