//! Reads the answer to the question which network a phone is with: "EE", "I'm on giffgaff", "it's three".

use super::words::{any_among, has_phrase, plain};
use crate::network::Network;

/// The names of networks as people write them. A longer name goes before the shorter one that it contains.
#[rustfmt::skip]
const NAMES: &[(&str, Network)] = &[
    ("ee", Network::Ee), ("e e", Network::Ee), ("everything everywhere", Network::Ee),
    ("o2", Network::O2), ("02", Network::O2), ("o 2", Network::O2), ("o two", Network::O2),
    ("vodafone", Network::Vodafone), ("vodaphone", Network::Vodafone), ("vodafon", Network::Vodafone),
    ("voda", Network::Vodafone), ("voda fone", Network::Vodafone), ("vodophone", Network::Vodafone), ("vodofone", Network::Vodafone),
    ("three uk", Network::Three), ("on three", Network::Three), ("on 3", Network::Three), ("with three", Network::Three),
    ("with 3", Network::Three), ("its three", Network::Three), ("three mobile", Network::Three), ("3 mobile", Network::Three), ("3mobile", Network::Three),
    ("asda", Network::Asda), ("asda mobile", Network::Asda),
    ("bt", Network::Bt), ("btmobile", Network::Bt),
    ("ecotalk", Network::Ecotalk), ("eco talk", Network::Ecotalk),
    ("giffgaff", Network::Giffgaff), ("giff gaff", Network::Giffgaff), ("gifgaf", Network::Giffgaff), ("gif gaf", Network::Giffgaff),
    ("giffgaf", Network::Giffgaff), ("gifgaff", Network::Giffgaff),
    ("id mobile", Network::IdMobile), ("idmobile", Network::IdMobile), ("id network", Network::IdMobile),
    ("lebara", Network::Lebara), ("labara", Network::Lebara),
    ("lyca", Network::Lyca), ("lycamobile", Network::Lyca), ("lyka", Network::Lyca),
    ("1p", Network::OnePMobile), ("1pmobile", Network::OnePMobile), ("1p mobile", Network::OnePMobile),
    ("sky", Network::SkyMobile), ("skymobile", Network::SkyMobile),
    ("smarty", Network::Smarty), ("smarty mobile", Network::Smarty),
    ("spusu", Network::Spusu),
    ("talkmobile", Network::Talkmobile), ("talk mobile", Network::Talkmobile),
    ("talktalk", Network::TalkTalk), ("talk talk", Network::TalkTalk),
    ("tesco", Network::TescoMobile), ("tescos", Network::TescoMobile), ("tescomobile", Network::TescoMobile),
    ("virgin", Network::Virgin), ("virginmobile", Network::Virgin), ("virgin media", Network::Virgin),
    ("voxi", Network::Voxi), ("voxy", Network::Voxi),
];

/// Phrases of a client who does not know its network, or whose network is not among the known ones.
#[rustfmt::skip]
const NOT_KNOWN: &[&str] = &[
    "dont know", "do not know", "not sure", "no idea", "no clue", "dunno", "havent a clue", "cant remember", "another one",
    "different one", "none of those", "none of them",
];

/// Words beside a digit or a short name that alone is a network: "it's 3", "on id".
#[rustfmt::skip]
const BESIDE_NAME: &[&str] = &[
    "its", "it", "is", "im", "i", "am", "on", "with", "the", "my", "network", "phone", "sim", "provider", "mobile", "contract", "payg",
    "think", "yes", "yeah", "ok", "hi", "sorry", "thats", "we", "were", "use", "using", "one", "called", "no", "still", "pay", "as",
    "you", "go", "thanks", "please", "mate", "says", "uk",
];

/// Returns the network that a text names while it is asked for. Two networks in one text name none.
pub(super) fn network(body: &str) -> Option<Network> {
    let said = plain(body);
    let mut named = NAMES.iter().filter(|(name, _)| has_phrase(&said, name)).map(|(_, network)| *network);
    let first = named.next().or_else(|| by_short_name(&said));
    match first {
        Some(first) => named.all(|other| other == first).then_some(first),
        None => NOT_KNOWN.iter().any(|phrase| has_phrase(&said, phrase)).then_some(Network::Other),
    }
}

/// Returns the network of a name that means more elsewhere: "3" is also the third phone, and "id" is how people write "I'd".
fn by_short_name(said: &[String]) -> Option<Network> {
    let named = said.iter().filter(|word| !any_among(std::slice::from_ref(word), BESIDE_NAME));
    match named.map(String::as_str).collect::<Vec<_>>()[..] {
        ["3" | "three"] => Some(Network::Three),
        ["id"] => Some(Network::IdMobile),
        _ => None,
    }
}
