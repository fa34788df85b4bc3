//! Colour, for what is said in words already: what is wrong in red, what to do about it in cyan.

const RED: &str = "\u{1b}[1;31m";
const CYAN: &str = "\u{1b}[36m";
const PLAIN: &str = "\u{1b}[0m";

/// The words that say that something is wrong.
const BAD: [&str; 2] = ["BROKEN", "WRONG"];

/// Errors and hints, as they stand at the beginning of lines.
pub fn complaint(text: &str) -> String {
    let line = |line: &str| match line.split_once(": ") {
        Some(("error", rest)) => format!("{RED}error:{PLAIN} {rest}"),
        Some(("hint", rest)) => format!("{CYAN}hint:{PLAIN} {rest}"),
        _ => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// A report in which what is bad stands out.
pub fn report(text: &str) -> String {
    let mut painted = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, word)) = BAD.iter().filter_map(|word| Some((rest.find(word)?, word))).min()
    {
        let (before, found) = rest.split_at(at);
        let after = &found[word.len()..];
        let joined = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "-_.".contains(c));
        let alone = !joined(before.chars().next_back()) && !joined(after.chars().next());
        painted.push_str(before);
        match alone {
            true => painted.push_str(&format!("{RED}{word}{PLAIN}")),
            false => painted.push_str(word),
        }
        rest = after;
    }
    painted + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_and_hints_are_painted_where_lines_begin() {
        let text = "error: cannot x: error: y\n  left: z\nhint: do\n";
        assert_eq!(
            complaint(text),
            "\u{1b}[1;31merror:\u{1b}[0m cannot x: error: y\n  left: z\n\u{1b}[36mhint:\u{1b}[0m do\n"
        );
    }

    #[test]
    fn what_is_bad_stands_out_and_names_do_not() {
        assert_eq!(report("web BROKEN: name\n"), "web \u{1b}[1;31mBROKEN\u{1b}[0m: name\n");
        for text in ["all ok\n", "WRONG-web ok\n", "svc.BROKEN\n", ""] {
            assert_eq!(report(text), text);
        }
        assert_eq!(report("WRONG WRONG").matches(RED).count(), 2);
    }
}
