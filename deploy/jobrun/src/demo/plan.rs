//! Reads the code blocks of `plan.md` by the headings above them.

/// The plan.
const PLAN: &str = include_str!("plan.md");

/// Returns the contents of every code block, in order, under the second-level heading that begins with `section` and, unless
/// `part` is empty, under the third-level heading within it that begins with `part`.
pub(super) fn blocks(section: &str, part: &str) -> Vec<&'static str> {
    let section = under(PLAN, "\n## ", section);
    let text = if part.is_empty() { section } else { under(section, "\n### ", part) };
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once("```") {
        let Some((_language, after)) = after.split_once('\n') else { break };
        let Some((block, after)) = after.split_once("```") else { break };
        blocks.push(block.trim_end_matches('\n'));
        rest = after;
    }
    blocks
}

/// Returns the first code block under these headings, or an empty text.
pub(super) fn block(section: &str, part: &str) -> &'static str {
    blocks(section, part).first().copied().unwrap_or_default()
}

/// Returns every SQL statement under these headings, verbatim, in order.
pub(super) fn statements(section: &str, part: &str) -> Vec<&'static str> {
    blocks(section, part).into_iter().flat_map(statements_of).collect()
}

fn statements_of(block: &'static str) -> Vec<&'static str> {
    let statements = block.split_inclusive(';').map(without_leading_comments);
    statements.filter(|statement| statement.ends_with(';')).collect()
}

fn without_leading_comments(text: &'static str) -> &'static str {
    let text = text.trim();
    match text.strip_prefix("--") {
        Some(comment) => without_leading_comments(comment.split_once('\n').map_or("", |(_, rest)| rest)),
        None => text,
    }
}

fn under(text: &'static str, level: &str, heading: &str) -> &'static str {
    let begins = |part: &&str| part.starts_with(heading);
    text.split(level).find(begins).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_statements_are_found() {
        assert!(block("Test Scenario 1", "Expected SMS").starts_with("Perfect! One last step"));
        assert_eq!(block("Test Scenario 1", "Expected Logs").lines().count(), 5);
        let statements = statements("Test Scenario 1", "Expected DB");
        assert_eq!(statements.len(), 3);
        assert!(statements.iter().all(|statement| statement.starts_with("SELECT") && statement.ends_with(';')));
        assert_eq!(super::statements("Monitoring", "").len(), 4);
    }
}
