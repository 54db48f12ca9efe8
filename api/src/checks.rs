//! What is wrong with a request of the expected shape: everything at once.

use crate::error::{Error, FieldError};

/// Most bytes of a reason, a note or another short text that people write.
pub(crate) const NOTE_BYTES_MAX: usize = 500;
/// Most bytes of a name that another system gave: a customer's, a payment's.
pub(crate) const NAME_BYTES_MAX: usize = 128;

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<FieldError>);

impl Checks {
    pub(crate) fn mistake(&mut self, field: impl Into<String>, detail: impl Into<String>) {
        self.0.push(FieldError::new(field, detail));
    }

    /// Notes a mistake unless `holds`.
    pub(crate) fn that(&mut self, holds: bool, field: &str, detail: impl FnOnce() -> String) {
        if !holds {
            self.mistake(field, detail());
        }
    }

    /// A text of so many bytes, none of them null: PostgreSQL's text has none.
    pub(crate) fn text(&mut self, field: &str, text: &str, least: usize, most: usize) {
        let holds = text.trim().len() >= least && text.len() <= most && !text.contains('\0');
        self.that(holds, field, || format!("{least} to {most} bytes are expected, none of them null"));
    }

    /// The same, where it is set.
    pub(crate) fn text_if_set(&mut self, field: &str, text: Option<&str>, most: usize) {
        if let Some(text) = text {
            self.text(field, text, 1, most);
        }
    }

    /// All that was wrong, in one text.
    pub(crate) fn told(self) -> Option<String> {
        let told: Vec<String> = self.0.iter().map(|error| format!("{}: {}", error.field, error.detail)).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// The value, if nothing was wrong.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, Error> {
        if self.0.is_empty() { Ok(value) } else { Err(Error::Invalid(self.0)) }
    }
}
