//! A text to the caller of a missed call, and the facts that it depends on.

use crate::E164;
use crate::quiet_hours::QuietHours;
use crate::wording::Text;

/// The facts about texting callers back, where it is switched on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextBackFacts {
    /// The ISO 3166 country of the client's region.
    pub region: String,
    /// The name of the client's business; empty if it has none.
    pub business: String,
    /// When no caller is texted. `None`: callers may be texted at any time.
    pub quiet: Option<QuietHours>,
    /// The facts about the caller, if the event is a call of a client whose callers are texted back.
    pub caller: Option<CallerFacts>,
}

/// The facts about a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerFacts {
    /// Whether the number is none of ours and no client's, and has not opted out.
    pub may_be_texted: bool,
    /// How many callers of the client were texted back in the last 24 hours.
    pub texted_callers: usize,
}

/// A text to the caller of a missed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerText {
    /// The caller.
    pub to: E164,
    /// The client's own number, which the caller knows.
    pub from: E164,
    /// The text.
    pub text: Text,
}
