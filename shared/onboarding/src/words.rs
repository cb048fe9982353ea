//! The words of a text: which wording it has, with which values, and how a [`Wording`] turns that into a body.
//!
//! A decision says which text is sent. Its words are written where it is saved, in the wording of the client's language.

use crate::segments::in_gsm_if_nothing_is_lost;
use crate::wording_name::Name;

/// The words of a text, before they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Words {
    /// These, to the letter: a value, or the words of an operator.
    Given(String),
    /// Those of a wording, with values in the place of its placeholders.
    Of(Name, Vec<(&'static str, Words)>),
}

impl Words {
    /// Adds the value of a placeholder.
    pub(crate) fn with(self, placeholder: &'static str, value: impl Into<Self>) -> Self {
        match self {
            Self::Given(_) => self,
            Self::Of(name, mut values) => {
                values.push((placeholder, value.into()));
                Self::Of(name, values)
            }
        }
    }
}

impl Name {
    /// Returns the words of this wording, with the value of a placeholder.
    pub(crate) fn with(self, placeholder: &'static str, value: impl Into<Words>) -> Words {
        Words::from(self).with(placeholder, value)
    }
}

impl From<Name> for Words {
    fn from(name: Name) -> Self {
        Self::Of(name, Vec::new())
    }
}

impl From<&str> for Words {
    fn from(text: &str) -> Self {
        Self::Given(text.to_owned())
    }
}

impl From<String> for Words {
    fn from(text: String) -> Self {
        Self::Given(text)
    }
}

/// A piece of a wording.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Placeholder(String),
}

/// A wording with its placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A brace that is not part of a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StrayBrace;

impl Template {
    /// Reads a wording, in which a placeholder is a name in braces.
    pub(crate) fn parse(text: &str) -> Result<Self, StrayBrace> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (placeholder, after) = after.split_once('}').ok_or(StrayBrace)?;
            let is_name = |it: char| it.is_ascii_lowercase() || it == '_';
            if before.contains('}') || placeholder.is_empty() || !placeholder.chars().all(is_name) {
                return Err(StrayBrace);
            }
            pieces.extend((!before.is_empty()).then(|| Piece::Text(before.to_owned())));
            pieces.push(Piece::Placeholder(placeholder.to_owned()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(StrayBrace);
        }
        pieces.extend((!rest.is_empty()).then(|| Piece::Text(rest.to_owned())));
        Ok(Self { pieces })
    }

    /// Returns the placeholders, in order; one that comes twice is there twice.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let each = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Placeholder(name) => value(name),
        });
        each.collect()
    }
}

/// Every wording of a language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wording {
    /// In the order of [`Name::ALL`].
    templates: Vec<Template>,
}

impl Wording {
    /// Takes the wording of each name from `find`.
    ///
    /// # Errors
    /// The names without one.
    pub(crate) fn new(mut find: impl FnMut(Name) -> Option<Template>) -> Result<Self, Vec<Name>> {
        let mut missing = Vec::new();
        let mut templates = Vec::new();
        for name in Name::ALL {
            match find(*name) {
                Some(template) => templates.push(template),
                None => missing.push(*name),
            }
        }
        if missing.is_empty() { Ok(Self { templates }) } else { Err(missing) }
    }

    /// Returns the wording of this name.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "there is a template for each name, in the order of the names")]
    pub fn template(&self, name: Name) -> &Template {
        &self.templates[name as usize]
    }

    /// Returns this wording with another one for `name`.
    pub(crate) fn set(&mut self, name: Name, template: Template) {
        if let Some(place) = self.templates.get_mut(name as usize) {
            *place = template;
        }
    }

    /// Writes words out. Every text is written here, so that each takes the fewest segments.
    #[must_use]
    pub fn write(&self, words: &Words) -> String {
        let body = match words {
            Words::Given(text) => text.clone(),
            Words::Of(name, values) => self.template(*name).fill(|placeholder| {
                match values.iter().find(|(name, _)| *name == placeholder).map(|(_, value)| value) {
                    Some(Words::Given(text)) => text.clone(),
                    Some(words @ Words::Of(..)) => self.write(words),
                    None => String::new(),
                }
            }),
        };
        in_gsm_if_nothing_is_lost(&body).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_is_a_name_in_braces_and_other_braces_are_refused() {
        let placeholders = |text| Template::parse(text).unwrap().placeholders().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(placeholders("no"), Vec::<String>::new());
        assert_eq!(placeholders("{a}, then {b_c}{a}"), ["a", "b_c", "a"]);
        for bad in ["{", "}", "{}", "a {b", "a} b", "{a b}", "{a{b}}", "{A}", "}{a}", "{a}}"] {
            assert_eq!(Template::parse(bad), Err(StrayBrace), "{bad}");
        }
    }
}
