//! Tests the examples of `tests/answers.txt`: texts of people, and the meaning of each.

use std::collections::HashSet;

use jobrun_onboarding::{Half, State, read, read_network};

const EXAMPLES: &str = include_str!("../answers.txt");

/// Returns the lines that are examples: text, open question, meaning.
fn examples() -> Vec<[&'static str; 3]> {
    let lines = EXAMPLES.lines().filter(|line| !line.is_empty() && !line.starts_with("# ") && *line != "#");
    lines
        .map(|line| {
            let parts: Vec<&str> = line.split(" | ").collect();
            parts.try_into().unwrap_or_else(|_| panic!("not an example: {line}"))
        })
        .collect()
}

fn state(name: &str) -> State {
    let short = |state: &State| state.name() == name || state.name().split('_').next() == Some(name);
    State::ALL.into_iter().find(short).unwrap_or_else(|| panic!("no such state: {name}"))
}

fn half(text: &str) -> Half {
    match text {
        "Plumber" => Half::Trade(text.to_owned()),
        place => Half::Place(place.to_owned()),
    }
}

#[test]
fn every_example_is_read_as_the_file_says() {
    let examples = examples();
    assert!(examples.len() >= 400, "{}", examples.len());
    let wrong: Vec<String> = examples
        .iter()
        .filter_map(|[answer, asked, expected]| {
            let answered = answer.replace("\\n", "\n");
            let read = match (asked.split_once(" after "), asked.strip_suffix(" asked for the network")) {
                (Some((name, known)), _) => read(&answered, state(name), Some(&half(known))),
                (None, Some(name)) => read_network(&answered, state(name)),
                (None, None) => read(&answered, state(asked), None),
            };
            let read = read.to_string();
            (read != *expected).then(|| format!("{answer} | {asked} | {read}, and not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), examples.len(), wrong.join("\n"));
}

#[test]
fn no_example_stands_twice() {
    let mut seen = HashSet::new();
    for [answer, asked, _] in examples() {
        assert!(seen.insert((answer, asked)), "{answer} | {asked}");
    }
}
