//! Templates as Docker's users type them, Go's, in minijinja's words: `{{.Name}}` is `{{ it.Name }}`,
//! `{{range .Tasks}}` is `{% for it in each(it.Tasks) %}`. What has no mark of Go is left as it is.

/// What Docker's templates call.
const FUNCTIONS: [&str; 9] =
    ["json", "upper", "lower", "title", "join", "split", "truncate", "print", "println"];

/// A whole template.
///
/// # Errors
/// What cannot be read, in a sentence.
pub fn translated(template: &str) -> Result<String, String> {
    let mut source = String::new();
    let mut open = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find("{{") {
        source.push_str(&unescaped(&rest[..start]));
        let inside = &rest[start + 2..];
        let end = end_of_action(inside).ok_or("`{{` has no `}}`")?;
        source.push_str(&action(&inside[..end], &mut open)?);
        rest = &inside[end + 2..];
    }
    source.push_str(&unescaped(rest));
    match open.pop() {
        Some(block) => Err(format!("`{{{{{}}}}}` has no `{{{{end}}}}`", block.keyword())),
        None => Ok(source),
    }
}

/// Where the action ends; braces in its strings do not count.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match quote {
            Some(open) if letter == open && (before != '\\' || open == '`') => quote = None,
            Some(_) => {}
            None if matches!(letter, '"' | '\'' | '`') => quote = Some(letter),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
        before = if before == '\\' { ' ' } else { letter };
    }
    None
}

/// A shell's single quotes leave `\t` and `\n` as they are typed.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// A block that `end` closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    If,
    Range,
    With,
}

impl Block {
    fn keyword(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::Range => "range",
            Self::With => "with",
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::If => "{% endif %}",
            Self::Range => "{% endfor %}",
            Self::With => "{% endwith %}{% endif %}",
        }
    }
}

fn action(inside: &str, open: &mut Vec<Block>) -> Result<String, String> {
    let (trims_left, inner) = match inside.strip_prefix('-') {
        Some(inner) if inner.starts_with(char::is_whitespace) => (true, inner),
        _ => (false, inside),
    };
    let (trims_right, inner) = match inner.strip_suffix('-') {
        Some(inner) if inner.ends_with(char::is_whitespace) => (true, inner),
        _ => (false, inner),
    };
    let inner = inner.trim();
    if inner.starts_with("/*") && inner.ends_with("*/") {
        return Ok(trimmed("{# #}".into(), trims_left, trims_right));
    }
    let tokens = match tokens(inner) {
        Ok(tokens) if is_go(&tokens) => tokens,
        Ok(_) => return Ok(format!("{{{{{inside}}}}}")),
        Err(_) if !inner.starts_with('.') => return Ok(format!("{{{{{inside}}}}}")),
        Err(problem) => return Err(problem),
    };
    let said =
        statement(&tokens, open).map_err(|problem| format!("`{{{{{inside}}}}}`: {problem}"))?;
    Ok(trimmed(said, trims_left, trims_right))
}

fn trimmed(mut source: String, left: bool, right: bool) -> String {
    if left {
        source.insert(2, '-');
    }
    if right {
        source.insert(source.len() - 2, '-');
    }
    source
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `.`, `.Name` or `.Endpoint.Mode`.
    Field(String),
    /// `$` or `$name`.
    Variable(String),
    Text(String),
    Number(String),
    Word(String),
    Pipe,
    Open,
    Close,
    Comma,
    Assign,
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, length) = token(first, rest)?;
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn token(first: char, rest: &str) -> Result<(Token, usize), String> {
    let name = |text: &str, more: &[char]| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_' && !more.contains(&c))
            .unwrap_or(text.len())
    };
    Ok(match first {
        '.' => {
            let length = 1 + name(&rest[1..], &['.']);
            (Token::Field(rest[1..length].to_owned()), length)
        }
        '$' => {
            let length = 1 + name(&rest[1..], &['.']);
            (Token::Variable(rest[1..length].to_owned()), length)
        }
        '"' => {
            let length = 1 + end_of_text(&rest[1..]).ok_or("a text has no end")?;
            (Token::Text(rest[..length].to_owned()), length)
        }
        '`' => {
            let length = rest[1..].find('`').ok_or("a text has no end")? + 2;
            let text = rest[1..length - 1].replace('\\', "\\\\").replace('"', "\\\"");
            (Token::Text(format!("\"{text}\"")), length)
        }
        '|' => (Token::Pipe, 1),
        '(' => (Token::Open, 1),
        ')' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        ':' if rest.starts_with(":=") => (Token::Assign, 2),
        '=' if !rest.starts_with("==") => (Token::Assign, 1),
        c if c.is_ascii_digit() || c == '-' => {
            let length = 1 + name(&rest[1..], &['.']);
            (Token::Number(rest[..length].to_owned()), length)
        }
        c if c.is_alphabetic() || c == '_' => {
            let length = name(rest, &['.']);
            (Token::Word(rest[..length].to_owned()), length)
        }
        c => return Err(format!("`{}` is not understood", c.escape_debug())),
    })
}

/// The length of a text up to and with its closing quote.
fn end_of_text(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return Some(at + 1),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// Whether an action can only be Go's.
fn is_go(tokens: &[Token]) -> bool {
    let marked = |token: &Token| {
        matches!(token, Token::Field(_) | Token::Variable(_)) || *token == Token::Assign
    };
    let keyword = matches!(tokens.first(), Some(Token::Word(word))
        if ["end", "else", "if", "range", "with"].contains(&word.as_str()));
    let call = matches!(tokens, [Token::Word(word), Token::Text(_) | Token::Number(_), ..]
        if is_function(word));
    let alone = matches!(tokens, [Token::Word(word)] if word.starts_with("print"));
    keyword || call || alone || tokens.iter().any(marked)
}

fn is_function(word: &str) -> bool {
    FUNCTIONS.contains(&word)
        || ["len", "index", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not"].contains(&word)
}

fn statement(tokens: &[Token], open: &mut Vec<Block>) -> Result<String, String> {
    let Some((Token::Word(word), rest)) = tokens.split_first() else {
        return match tokens {
            [Token::Variable(name), Token::Assign, value @ ..] if !name.is_empty() => {
                Ok(format!("{{% set v_{name} = {} %}}", pipeline(value)?))
            }
            _ => Ok(format!("{{{{ {} }}}}", pipeline(tokens)?)),
        };
    };
    match word.as_str() {
        "if" => {
            open.push(Block::If);
            Ok(format!("{{% if {} %}}", pipeline(rest)?))
        }
        "with" => {
            open.push(Block::With);
            let value = pipeline(rest)?;
            Ok(format!("{{% if {value} %}}{{% with it = {value} %}}"))
        }
        "range" => {
            open.push(Block::Range);
            range(rest)
        }
        "else" => otherwise(rest, open.last().copied()),
        "end" if rest.is_empty() => {
            open.pop().map(|block| block.end().to_owned()).ok_or_else(|| "nothing is open".into())
        }
        _ => Ok(format!("{{{{ {} }}}}", pipeline(tokens)?)),
    }
}

fn range(tokens: &[Token]) -> Result<String, String> {
    Ok(match tokens {
        [Token::Variable(key), Token::Comma, Token::Variable(value), Token::Assign, over @ ..] => {
            format!(
                "{{% for v_{key}, v_{value} in pairs({}) %}}{{% set it = v_{value} %}}",
                pipeline(over)?
            )
        }
        [Token::Variable(value), Token::Assign, over @ ..] => {
            format!("{{% for v_{value} in each({}) %}}{{% set it = v_{value} %}}", pipeline(over)?)
        }
        over => format!("{{% for it in each({}) %}}", pipeline(over)?),
    })
}

fn otherwise(rest: &[Token], block: Option<Block>) -> Result<String, String> {
    match (block, rest) {
        (None, _) => Err("nothing is open".into()),
        (Some(Block::If), [Token::Word(word), condition @ ..]) if word == "if" => {
            Ok(format!("{{% elif {} %}}", pipeline(condition)?))
        }
        (Some(Block::With), []) => Ok("{% endwith %}{% else %}{% with it = it %}".into()),
        (Some(_), []) => Ok("{% else %}".into()),
        (Some(block), _) => Err(format!("`else` of `{}` takes nothing", block.keyword())),
    }
}

/// `.Name | upper | json`: what stands before a pipe is the last argument of what follows.
fn pipeline(tokens: &[Token]) -> Result<String, String> {
    let mut said: Option<String> = None;
    for command in split_at_pipes(tokens) {
        said = Some(call(command, said)?);
    }
    said.ok_or_else(|| "a value is missing".into())
}

fn split_at_pipes(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0;
    tokens
        .split(|token| {
            match token {
                Token::Open => depth += 1,
                Token::Close => depth -= 1,
                _ => {}
            }
            depth == 0 && *token == Token::Pipe
        })
        .collect()
}

fn call(tokens: &[Token], piped: Option<String>) -> Result<String, String> {
    let (function, rest) = match tokens.split_first() {
        Some((Token::Word(word), rest)) if constant(word).is_none() => (Some(word), rest),
        _ => (None, tokens),
    };
    let mut values = operands(rest)?;
    values.extend(piped);
    match (function, values.len()) {
        (Some(function), _) => apply(function, &values),
        (None, 1) => Ok(values.remove(0)),
        (None, 0) => Err("a value is missing".into()),
        (None, _) => Err("there are several values and no function".into()),
    }
}

fn constant(word: &str) -> Option<&'static str> {
    match word {
        "true" => Some("true"),
        "false" => Some("false"),
        "nil" => Some("none"),
        _ => None,
    }
}

fn operands(tokens: &[Token]) -> Result<Vec<String>, String> {
    let mut values: Vec<String> = Vec::new();
    let mut rest = tokens;
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        values.push(match first {
            Token::Field(path) => path_of("it", path)?,
            Token::Variable(name) => match name.split_once('.') {
                None if name.is_empty() => "root".into(),
                None => format!("v_{name}"),
                Some(("", path)) => path_of("root", path)?,
                Some((name, path)) => path_of(&format!("v_{name}"), path)?,
            },
            Token::Text(text) => text.clone(),
            Token::Number(number) => number.clone(),
            Token::Word(word) => match constant(word) {
                Some(word) => word.into(),
                None => {
                    return Err(format!("`{word}` stands where a value should: write `.{word}`"));
                }
            },
            Token::Open => {
                let (inside, after) = up_to_close(rest)?;
                rest = after;
                let value = format!("({})", pipeline(inside)?);
                match rest.split_first() {
                    // `(index .Tasks 0).Name`
                    Some((Token::Field(path), after)) if !path.is_empty() => {
                        rest = after;
                        path_of(&value, path)?
                    }
                    _ => value,
                }
            }
            Token::Pipe | Token::Close | Token::Comma | Token::Assign => {
                return Err("a value is missing".into());
            }
        });
    }
    Ok(values)
}

fn path_of(from: &str, path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(from.to_owned());
    }
    if path.split('.').any(|name| name.is_empty() || name.starts_with(|c: char| c.is_numeric())) {
        return Err(format!("`.{path}` is not the name of a field"));
    }
    Ok(format!("{from}.{path}"))
}

fn up_to_close(tokens: &[Token]) -> Result<(&[Token], &[Token]), String> {
    let mut depth = 1;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Open => depth += 1,
            Token::Close => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok((&tokens[..at], &tokens[at + 1..]));
        }
    }
    Err("`(` has no `)`".into())
}

fn apply(function: &str, values: &[String]) -> Result<String, String> {
    let operator = |sign: &str| match values {
        [left, rights @ ..] if !rights.is_empty() => Ok(rights
            .iter()
            .map(|right| format!("({left} {sign} {right})"))
            .collect::<Vec<_>>()
            .join(" or ")),
        _ => Err(format!("`{function}` compares two values")),
    };
    match (function, values) {
        ("eq", _) => operator("==").map(|said| format!("({said})")),
        ("ne", _) => operator("!="),
        ("lt", _) => operator("<"),
        ("le", _) => operator("<="),
        ("gt", _) => operator(">"),
        ("ge", _) => operator(">="),
        ("and" | "or", [_, ..]) => Ok(format!("({})", values.join(&format!(" {function} ")))),
        ("not", [value]) => Ok(format!("(not {value})")),
        ("len", [value]) => Ok(format!("({value}|length)")),
        ("index", [of, keys @ ..]) if !keys.is_empty() => {
            Ok(keys.iter().fold(of.clone(), |said, key| format!("{said}[{key}]")))
        }
        (known, _) if FUNCTIONS.contains(&known) => Ok(format!("{known}({})", values.join(", "))),
        (known, _) if is_function(known) => {
            Err(format!("`{known}` has too few or too many values"))
        }
        _ => Err(format!(
            "there is no function `{function}`: there are {}, len, index, eq, ne, lt, le, gt, ge, and, or, not",
            FUNCTIONS.join(", ")
        )),
    }
}
