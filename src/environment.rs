//! The environment: the one place that reads it.

/// A variable's value; none when it is unset or not UTF-8.
pub fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "this is the one home of the environment")]
    std::env::var(name).ok()
}
