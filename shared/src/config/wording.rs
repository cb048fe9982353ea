//! The setting of the wordings.

use jobrun_onboarding::Wordings;

use super::problems::Problems;
use super::reader::{Environment, Reader};

const FILE: &str = "WORDING_FILE";

/// Reads the wordings: the built-in ones, with those of `WORDING_FILE` in their place.
///
/// # Errors
/// Names every fault of the file.
pub fn wordings() -> Result<Wordings, Problems> {
    Reader::read(&Environment, Reader::wordings).map_err(Problems::or_misspelt)
}

/// Reads a file of wordings.
///
/// # Errors
/// A sentence for each fault, without the name of the file.
pub fn read_wordings(path: &str) -> Result<Wordings, Vec<String>> {
    let file = std::fs::read_to_string(path).map_err(|error| vec![format!("it cannot be read: {error}")])?;
    Wordings::with_file(&file).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

impl Reader<'_> {
    pub(super) fn wordings(&mut self) -> Option<Wordings> {
        let Some(path) = self.get(FILE) else { return Some(Wordings::built_in().clone()) };
        match read_wordings(&path) {
            Ok(wordings) => Some(wordings),
            Err(faults) => {
                faults.into_iter().for_each(|fault| self.add_problem(format!("{FILE} {path}: {fault}")));
                None
            }
        }
    }
}
