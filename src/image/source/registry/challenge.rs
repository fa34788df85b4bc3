//! What a registry wants to be shown, as its `WWW-Authenticate` says (RFC 9110, and Docker's token
//! authentication).

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token, which somebody else gives.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// The best that is known of several.
    pub fn parse<'a>(headers: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let all: Vec<Self> = headers.into_iter().filter_map(one).collect();
        let bearer = all.iter().find(|challenge| matches!(challenge, Self::Bearer { .. }));
        bearer.or(all.first()).cloned()
    }
}

fn one(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let find = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    Some(Challenge::Bearer {
        realm: find("realm")?,
        service: find("service"),
        scope: find("scope"),
    })
}

/// `key="value",key=value`: a comma inside of quotes belongs to the value, as in a scope of several actions.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((key, value)) = rest.split_once('=') {
        let key = key.trim_start_matches([',', ' ']).trim().to_owned();
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted_text(quoted),
            None => {
                let end = value.find(',').unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                (value.trim().to_owned(), after)
            }
        };
        found.push((key, value));
        rest = after;
    }
    found
}

/// A text up to its closing quote, and what is behind that.
fn quoted_text(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
            letter => value.push(letter),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_hub_says_is_understood() {
        let header = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".into(),
            service: Some("registry.docker.io".into()),
            scope: Some("repository:library/nginx:pull,push".into()),
        };
        assert_eq!(Challenge::parse([header]), Some(expected.clone()));
        assert_eq!(Challenge::parse(["Basic realm=x", header]), Some(expected));
    }

    #[test]
    fn other_forms_are_understood_too() {
        assert_eq!(Challenge::parse([r#"basic realm="Registry Realm""#]), Some(Challenge::Basic));
        let bare = Challenge::parse([r#"bearer  realm = "https://a/\"t" , service=b"#]);
        let expected = Challenge::Bearer {
            realm: r#"https://a/"t"#.into(),
            service: Some("b".into()),
            scope: None,
        };
        // Blanks around the equals sign are not allowed, and do no harm.
        assert_eq!(bare, Some(expected));
        assert_eq!(Challenge::parse(["Negotiate"]), None);
        assert_eq!(Challenge::parse(["Bearer service=x"]), None);
        assert_eq!(Challenge::parse([""; 0]), None);
    }
}
