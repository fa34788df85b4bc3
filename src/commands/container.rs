//! What options of containers mean.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::session::Session;
use crate::cli::service::Variable;
use crate::failure::{Exit, Failure};
use crate::intent::{Definition, Image};
use crate::kernel::{cgroup, oci_runtime};

/// The variables of some files, and then those that were typed: of two values the later one stands.
///
/// # Errors
/// When a file cannot be read, or a line of it is no variable.
pub fn environment(
    files: &[PathBuf],
    typed: Vec<Variable>,
    what: &str,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::new();
    for file in files {
        let refused = |problem: String| {
            Failure::new(Exit::Usage, what, format!("--env-file {}: {problem}", file.display()))
        };
        let text = read(file).map_err(refused)?;
        for (number, line) in text.lines().enumerate() {
            let at = |problem: String| refused(format!("line {}: {problem}", number + 1));
            variables.extend(variable(line).map_err(at)?);
        }
    }
    variables.extend(typed.into_iter().map(|variable| (variable.name, variable.value)));
    Ok(variables)
}

/// Refuses what this machine cannot run, where there is no other that could.
///
/// # Errors
/// What it lacks.
pub fn check(session: &Session, definition: &Definition, what: &str) -> Result<(), Failure> {
    let is_alone = session.is_fresh() || session.intent()?.nodes.len() <= 1;
    if session.is_recorded() || !is_alone {
        return Ok(());
    }
    let setup = &definition.setup;
    let runtime = match definition.image {
        Image::Oci(_) => oci_runtime::find(setup.runtime.as_deref()).err(),
        _ => None,
    };
    let init = (setup.init && oci_runtime::init().is_none())
        .then(|| crate::container::ConfigError::NoInit.to_string());
    match runtime.or(init).or_else(|| cgroup::lack(&setup.limits)) {
        Some(lack) => Err(Failure::new(Exit::Cannot, what, lack)
            .hint("`swarmlb system info` tells what this machine has")),
        None => Ok(()),
    }
}

fn read(file: &Path) -> Result<String, String> {
    let bytes = std::fs::read(file).map_err(|error| match error.raw_os_error() {
        Some(number) => {
            crate::kernel::Refusal::new(nix::errno::Errno::from_raw(number)).to_string()
        }
        None => error.to_string(),
    })?;
    String::from_utf8(bytes).map_err(|_| "it is not text in UTF-8".to_owned())
}

/// The variable of a line of a file; none of one that is empty or a comment, and of a name that has no
/// value here.
fn variable(line: &str) -> Result<Option<(String, String)>, String> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (line, crate::environment::variable(line.trim_end())),
    };
    let name = name.trim_end_matches(['\r', '\n']);
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("`{}` names no variable", name.escape_debug()));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_in_order_and_what_is_typed_goes_before_them() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("one"), directory.path().join("two"));
        std::fs::write(&one, "# none\n\nA=1\nB=x=y #z\n  C= 3\nNOBODY_HAS_THIS\n").unwrap();
        std::fs::write(&two, "A=2\nD=").unwrap();
        let typed = vec![Variable { name: "D".into(), value: "4".into() }];
        let read = environment(&[one, two], typed, "x").unwrap();
        let read: Vec<String> =
            read.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(read, ["A=2", "B=x=y #z", "C= 3", "D=4"]);
    }

    #[test]
    fn a_file_that_is_missing_or_bad_is_told_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("env");
        let error = environment(std::slice::from_ref(&file), Vec::new(), "x").unwrap_err();
        assert!(error.problem.contains("no such file or directory (ENOENT)"), "{}", error.problem);
        std::fs::write(&file, "A=1\nB C=2\n").unwrap();
        let error = environment(std::slice::from_ref(&file), Vec::new(), "x").unwrap_err();
        assert!(error.problem.ends_with("line 2: `B C` names no variable"), "{}", error.problem);
    }
}
