//! The status of a dispute: a payer asks the bank to take a payment back, and the bank decides.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// The status of a dispute. The variants are ordered as statuses of the same second can have followed each other. They are stored
/// under their names, so they must not be renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dispute {
    /// The bank waits for evidence, or the status is unknown to us.
    Open,
    /// The bank has the evidence, and decides.
    UnderReview,
    /// It is over, and the money stays.
    Won,
    /// It is over, and the money is gone.
    Lost,
}

impl Dispute {
    /// Returns the status for Stripe's name of it. An unknown name must reach the operator, so it counts as open.
    #[must_use]
    pub fn from_stripe(status: &str) -> Self {
        match status {
            "under_review" | "warning_under_review" => Self::UnderReview,
            // `charge_refunded`: the bank does not take back a payment that was refunded meanwhile.
            "won" | "warning_closed" | "prevented" | "charge_refunded" => Self::Won,
            "lost" => Self::Lost,
            _ => Self::Open,
        }
    }

    const fn is_over(self) -> bool {
        match self {
            Self::Open | Self::UnderReview => false,
            Self::Won | Self::Lost => true,
        }
    }
}

/// Returns the latest of the reported statuses, each with its time, in any order. A dispute that is over stays over.
#[must_use]
pub fn latest(reports: &[(DateTime<Utc>, Dispute)]) -> Option<Dispute> {
    reports.iter().max_by_key(|(at, status)| (status.is_over(), *at, *status)).map(|(_, status)| *status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dispute_that_is_over_stays_over_in_any_order_of_reports() {
        use Dispute::{Lost, Open, UnderReview, Won};
        let latest_of = |statuses: &[(i64, Dispute)]| {
            let at = |second| DateTime::from_timestamp(second, 0).unwrap();
            latest(&statuses.iter().map(|(second, status)| (at(*second), *status)).collect::<Vec<_>>())
        };
        assert_eq!(latest_of(&[]), None);
        assert_eq!(latest_of(&[(1, Open)]), Some(Open));
        assert_eq!(latest_of(&[(2, UnderReview), (1, Open)]), Some(UnderReview));
        assert_eq!(latest_of(&[(3, Open), (2, UnderReview)]), Some(Open), "more evidence is wanted");
        assert_eq!(latest_of(&[(3, Lost), (1, Open), (9, UnderReview)]), Some(Lost));
        assert_eq!(latest_of(&[(3, Won), (3, Open)]), Some(Won));
        assert_eq!(latest_of(&[(9, Won), (3, Lost)]), Some(Won), "won in the end");
    }

    #[test]
    fn every_status_name_of_stripe_is_mapped() {
        for (word, expected) in [
            ("needs_response", Dispute::Open),
            ("warning_needs_response", Dispute::Open),
            ("something_new", Dispute::Open),
            ("", Dispute::Open),
            ("under_review", Dispute::UnderReview),
            ("warning_under_review", Dispute::UnderReview),
            ("won", Dispute::Won),
            ("warning_closed", Dispute::Won),
            ("prevented", Dispute::Won),
            ("lost", Dispute::Lost),
        ] {
            assert_eq!(Dispute::from_stripe(word), expected, "{word}");
        }
    }
}
