//! The mobile networks of the UK, and the question which of them a client's phone is with.

use serde::{Serialize, Serializer};

/// A mobile network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its brand")]
pub enum Network {
    Ee,
    O2,
    Vodafone,
    Three,
    Asda,
    Bt,
    Ecotalk,
    Giffgaff,
    IdMobile,
    Lebara,
    Lyca,
    OnePMobile,
    SkyMobile,
    Smarty,
    Spusu,
    Talkmobile,
    TalkTalk,
    TescoMobile,
    Virgin,
    Voxi,
    /// Another one, or the client does not know which.
    Other,
}

impl Network {
    /// Every network.
    pub const ALL: [Self; 21] = [
        Self::Ee,
        Self::O2,
        Self::Vodafone,
        Self::Three,
        Self::Asda,
        Self::Bt,
        Self::Ecotalk,
        Self::Giffgaff,
        Self::IdMobile,
        Self::Lebara,
        Self::Lyca,
        Self::OnePMobile,
        Self::SkyMobile,
        Self::Smarty,
        Self::Spusu,
        Self::Talkmobile,
        Self::TalkTalk,
        Self::TescoMobile,
        Self::Virgin,
        Self::Voxi,
        Self::Other,
    ];

    /// Returns whether it is a network of its own. The others use the network of another operator, and some block call divert.
    pub(crate) const fn is_a_host(self) -> bool {
        matches!(self, Self::Ee | Self::O2 | Self::Vodafone | Self::Three)
    }

    /// Returns its name, as it is stored and as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ee => "EE",
            Self::O2 => "O2",
            Self::Vodafone => "Vodafone",
            Self::Three => "Three",
            Self::Asda => "Asda Mobile",
            Self::Bt => "BT Mobile",
            Self::Ecotalk => "Ecotalk",
            Self::Giffgaff => "giffgaff",
            Self::IdMobile => "iD Mobile",
            Self::Lebara => "Lebara",
            Self::Lyca => "Lyca Mobile",
            Self::OnePMobile => "1pMobile",
            Self::SkyMobile => "Sky Mobile",
            Self::Smarty => "SMARTY",
            Self::Spusu => "spusu",
            Self::Talkmobile => "Talkmobile",
            Self::TalkTalk => "TalkTalk Mobile",
            Self::TescoMobile => "Tesco Mobile",
            Self::Virgin => "Virgin Mobile",
            Self::Voxi => "VOXI",
            Self::Other => "another network",
        }
    }
}

/// The question which network the client's phone is with. It is asked when forwarding could not be set up twice in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkQuestion {
    /// Forwarding could not be set up once, and the client was told the codes. The next time the question is asked.
    AskNext,
    /// It is asked, and open.
    Open,
    /// It was asked or was to be asked, and the conversation went on without the answer.
    Closed,
    /// The answer.
    Answered(Network),
}

impl NetworkQuestion {
    /// Returns the name under which it is stored.
    const fn name(self) -> &'static str {
        match self {
            Self::AskNext => "not asked",
            Self::Open => "asked",
            Self::Closed => "not known",
            Self::Answered(network) => network.name(),
        }
    }

    /// Returns the question that is stored under `name`, if there is one.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let answered = Network::ALL.into_iter().map(Self::Answered);
        [Self::AskNext, Self::Open, Self::Closed].into_iter().chain(answered).find(|it| it.name() == name)
    }
}

impl Serialize for NetworkQuestion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_found_by_its_stored_name() {
        let answered = Network::ALL.map(NetworkQuestion::Answered);
        for question in
            [NetworkQuestion::AskNext, NetworkQuestion::Open, NetworkQuestion::Closed].iter().chain(&answered)
        {
            let stored = serde_json::to_value(question).unwrap();
            assert_eq!(stored.as_str().and_then(NetworkQuestion::from_name).as_ref(), Some(question));
        }
        assert_eq!(NetworkQuestion::from_name("EE plus"), None);
    }
}
