//! The languages that texts are written in.

use crate::region_of;

/// A language that texts are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// British English.
    EnGb,
}

/// The language of each region (ISO 3166) that has one of its own. The others have British English.
const OF_REGIONS: [(&str, Language); 1] = [("GB", Language::EnGb)];

impl Language {
    /// Every language.
    pub const ALL: [Self; 1] = [Self::EnGb];

    /// Returns the tag of the language (BCP 47), as the files have it.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::EnGb => "en-GB",
        }
    }

    /// Returns the language of this tag, if there is one.
    #[must_use]
    pub fn from_tag(tag: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.tag() == tag)
    }

    /// Returns the language of the clients of a region, as in `clients.region`.
    #[must_use]
    pub fn of_region(region: &str) -> Self {
        let country = region_of(region);
        OF_REGIONS.iter().find(|(region, _)| *region == country).map_or(Self::EnGb, |(_, language)| *language)
    }
}
