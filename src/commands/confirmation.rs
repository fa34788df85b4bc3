//! Asking before something is removed for good.

use std::io::{IsTerminal, Write};

use crate::failure::{Exit, Failure};

/// Asks on the terminal whether to go on after `about`, a sentence that says what would go. `option`
/// is what to say instead of being asked.
///
/// # Errors
/// When the answer is no, or nobody can be asked.
pub fn ask(what: &str, about: &str, option: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(Exit::Usage, what, "nobody can be asked: stdin is no terminal")
            .hint(format!("say `{option}`")));
    }
    eprint!("{about} Go on? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::io(what, &error))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Bad, what, "it was not confirmed; nothing was touched")),
    }
}
