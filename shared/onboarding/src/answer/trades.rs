//! The tables of words for trades, places and businesses.

/// Trades, and the things that they work on.
#[rustfmt::skip]
pub(super) const TRADES: &[&str] = &[
    "plumber", "plumbers", "plumbing", "electrician", "electricians", "electrics", "sparky", "sparks", "spark",
    "electrical", "builder", "builders", "building", "roofer", "roofers", "roofing", "carpenter", "carpentry",
    "joiner", "joinery", "chippy", "decorator", "decorators", "decorating", "painter", "painters", "painting",
    "plasterer", "plastering", "spread", "tiler", "tiling", "gardener", "gardeners", "gardening", "landscaper",
    "landscaping", "landscapes", "handyman", "handywoman", "handyperson", "locksmith", "locksmiths", "glazier",
    "glazing", "bricklayer", "bricklaying", "brickie", "brickwork", "scaffolder", "scaffolding", "mechanic",
    "mechanics", "cleaner", "cleaners", "cleaning", "heating", "gas", "engineer", "engineers", "boiler", "boilers",
    "drain", "drains", "drainage", "fencing", "fencer", "flooring", "floors", "kitchen", "kitchens", "bathroom",
    "bathrooms", "fitter", "fitters", "fitting", "welder", "welding", "surveyor", "removals", "removal",
    "hairdresser", "barber", "beautician", "groomer", "grooming", "photographer", "caterer", "catering", "pest",
    "arborist", "tree", "surgeon", "window", "windows", "chimney", "sweep", "paving", "driveways", "groundworks",
    "groundworker", "stonemason", "upholsterer", "aerials", "appliance", "appliances", "repairs", "maintenance",
    "installer", "renovations", "conversions", "extensions", "insulation", "damp", "clearance", "van", "instructor",
    "trades",
    "chef", "cook", "tech", "technician", "courier", "vet", "nails", "hair", "beauty", "massage", "carpets", "gardens", "security", "artist", "trainer", "driver", "walker", "sitter", "nanny", "electric", "carpet", "garden", "locks", "roof", "roofs",
    "walking", "sitting", "training", "valeting", "detailing", "rendering", "surfacing", "tarmac", "wiring", "welding", "moving", "removing", "pointing", "bricklaying", "upholstery", "curtains", "blinds", "shutters", "hairdressing", "tutoring", "teaching", "driving",
];

/// Words that may stand beside a trade, and are neither a trade nor a place.
#[rustfmt::skip]
pub(super) const BESIDE_TRADE: &[&str] = &[
    "emergency", "local", "mobile", "qualified", "registered", "self", "employed", "domestic", "commercial",
    "general", "master", "sole", "trader", "24", "hour", "safe", "independent", "experienced", "small", "all", "and",
    "a", "an", "services", "work", "by",
];

/// Words that end like a trade but are none.
#[rustfmt::skip]
pub(super) const NO_TRADE: &[&str] = &[
    "another", "other", "never", "number", "whatever", "however", "later", "after", "order", "answer", "offer",
    "over", "either", "greater", "neither", "whether", "rather", "together", "thing", "something", "anything",
    "nothing", "everything", "morning", "evening", "during", "being", "doing", "going", "using", "having",
    "customer", "customers", "dinner", "dinners", "remember", "wonder", "letter", "letters", "brother", "father", "mother",
    "sister", "partner", "member", "forever", "whoever", "wherever", "whenever", "september", "october", "november",
    "december", "summer", "winter",
];

/// Words that stand between a trade and a place.
#[rustfmt::skip]
pub(super) const BETWEEN: &[&str] = &[
    "from", "in", "near", "around", "at", "covering", "based", "outside", "across", "within", "round", "serving",
];

/// Places of one word where people work.
#[rustfmt::skip]
pub(super) const PLACES: &[&str] = &[
    "aberdeen", "antrim", "ayr", "bangor", "barking", "barnet", "barnsley", "barrow", "basildon", "basingstoke",
    "bath", "bedford", "bedfordshire", "belfast", "berkshire", "birmingham", "blackburn", "blackpool", "bolton",
    "bournemouth", "bradford", "brentwood", "brighton", "bristol", "bromley", "buckinghamshire", "burnley", "bury",
    "caerphilly", "cambridge", "cambridgeshire", "cardiff", "carlisle", "chelmsford", "cheltenham", "cheshire",
    "chester", "chesterfield", "colchester", "cornwall", "coventry", "crawley", "crewe", "croydon", "cumbria",
    "darlington", "derby", "derbyshire", "derry", "devon", "doncaster", "dorset", "dudley", "dundee", "durham",
    "ealing", "eastbourne", "edinburgh", "enfield", "essex", "exeter", "falkirk", "fife", "gateshead", "glasgow",
    "gloucester", "gloucestershire", "grimsby", "guildford", "halifax", "hampshire", "harlow", "harrogate", "harrow",
    "hartlepool", "hastings", "hereford", "hertfordshire", "huddersfield", "hull", "inverness", "ipswich", "kent",
    "keynes", "kettering", "lancashire", "lancaster", "leeds", "leicester", "leicestershire", "lewisham", "lincoln",
    "lincolnshire", "lisburn", "liverpool", "livingston", "llandudno", "llanelli", "london", "londonderry",
    "loughborough", "luton", "maidstone", "manchester", "mansfield", "margate", "merseyside", "middlesbrough",
    "newcastle", "newport", "newry", "norfolk", "northampton", "norwich", "nottingham", "nottinghamshire", "oldham",
    "oxford", "oxfordshire", "paisley", "perth", "peterborough", "plymouth", "poole", "portsmouth", "powys",
    "preston", "reading", "redditch", "rochdale", "rotherham", "rugby", "salford", "salisbury", "scarborough",
    "scotland", "sheffield", "shrewsbury", "shropshire", "slough", "solihull", "somerset", "southampton", "southend",
    "southport", "staffordshire", "stevenage", "stirling", "stockport", "suffolk", "sunderland", "surrey", "sussex",
    "swansea", "swindon", "telford", "torquay", "truro", "wakefield", "wales", "walsall", "warrington", "watford",
    "wigan", "wolverhampton", "worcester", "worthing", "wrexham", "yeovil", "york", "yorkshire",
];

/// Words that may stand beside a place.
#[rustfmt::skip]
pub(super) const BESIDE_PLACE: &[&str] = &[
    "north", "south", "east", "west", "central", "greater", "area", "city", "centre", "milton", "keynes", "st", "the",
    "and", "upon", "tyne", "trent", "on", "of", "uk", "county", "co",
    "all", "over", "whole", "surrounding", "areas", "nearby", "round", "ldn",
];

/// Legal forms, which end the name of a registered business.
pub(super) const LEGAL_FORMS: &[&str] = &["ltd", "limited", "llp", "plc", "inc", "cyf"];

/// Words that are part of the name of a business, often its last.
#[rustfmt::skip]
pub(super) const OF_BUSINESSES: &[&str] = &[
    "ltd", "limited", "llp", "plc", "inc", "sons", "son", "bros", "brothers", "services", "solutions", "group",
    "contractors", "contracting", "co", "company", "properties", "property", "homes", "interiors", "associates",
    "cyf",
];

/// Words for the work of a business. They are common in the name of a business and rare in a person's.
#[rustfmt::skip]
pub(super) const OF_WORK: &[&str] = &[
    "plumbing", "heating", "roofing", "electrical", "building", "joinery", "drains", "drainage", "landscaping",
    "plastering", "scaffolding", "decorating", "services", "boilers",
];

pub(super) fn is_trade(word: &str) -> bool {
    const ENDINGS: [&str; 6] = ["er", "ers", "ist", "ian", "man", "smith"];
    let ends = word.len() >= 6 && ENDINGS.iter().any(|end| word.ends_with(end));
    TRADES.contains(&word) || (ends && !NO_TRADE.contains(&word) && !BETWEEN.contains(&word) && !is_place(word))
}

/// Returns whether a word is a known place, or looks like a postcode: "LS1".
pub(super) fn is_place(word: &str) -> bool {
    let is_postcode = || {
        let letters = word.bytes().take_while(u8::is_ascii_alphabetic).count();
        let digits = word.bytes().skip(letters).take_while(u8::is_ascii_digit).count();
        (1..=2).contains(&letters) && (1..=2).contains(&digits) && word.len() <= letters + digits + 1
    };
    PLACES.contains(&word) || is_postcode()
}
