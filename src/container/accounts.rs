//! Users and groups as /etc/passwd and /etc/group have them.

use std::fmt::Display;

use thiserror::Error;

/// The texts of an image's two files; empty where there are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accounts {
    pub passwd: String,
    pub group: String,
}

/// As whom a process runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
    /// Further groups, sorted.
    pub groups: Vec<u32>,
    pub home: String,
}

/// What no process can run as.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AccountError {
    #[error("there is no user `{}` {place}", name.escape_debug())]
    NoUser { name: String, place: String },
    #[error("there is no group `{}` {place}", name.escape_debug())]
    NoGroup { name: String, place: String },
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl Accounts {
    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let (&name, uid, gid) = (fields.first()?, fields.get(2)?, fields.get(3)?);
            let home = fields.get(5).copied().unwrap_or_default();
            Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
    }

    fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let members = fields.get(3).copied().unwrap_or_default();
            Some(Group { name: fields.first()?, gid: fields.get(2)?.parse().ok()?, members })
        })
    }

    /// Who `USER[:GROUP]` is, by Docker's rules: a name goes before a number, a number needs no line, and
    /// who names a group is in no other. Root when empty. `place` is where they are looked for, as `in the image`.
    ///
    /// # Errors
    /// When a name stands nowhere.
    pub fn find(&self, text: &str, place: impl Display) -> Result<Account, AccountError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
            None => (text, None),
        };
        let user = if user.is_empty() { "0" } else { user };
        let number = user.parse::<u32>().ok();
        let found = self.users().find(|held| held.name == user);
        let found = found.or_else(|| self.users().find(|held| Some(held.uid) == number));
        let (uid, gid, home, name) = match (found, number) {
            (Some(held), _) => (held.uid, held.gid, held.home, held.name),
            (None, Some(uid)) => (uid, 0, "", ""),
            (None, None) => {
                let place = place.to_string();
                return Err(AccountError::NoUser { name: user.to_owned(), place });
            }
        };
        let home = if home.is_empty() { "/" } else { home }.to_owned();
        let Some(group) = group else {
            let is_member = |held: &Group<'_>| held.members.split(',').any(|member| member == name);
            let groups = self.groups().filter(|held| !name.is_empty() && is_member(held));
            let mut groups: Vec<u32> = groups.map(|held| held.gid).collect();
            groups.sort_unstable();
            groups.dedup();
            return Ok(Account { uid, gid, groups, home });
        };
        let number = group.parse::<u32>().ok();
        let named = self.groups().find(|held| held.name == group).map(|held| held.gid);
        let gid = named.or(number).ok_or_else(|| AccountError::NoGroup {
            name: group.to_owned(),
            place: place.to_string(),
        })?;
        Ok(Account { uid, gid, groups: Vec::new(), home })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\n# no line\nweb:x:33:34:web:/srv:/bin/false\n7:x:70:70::/seven:\n"
                .into(),
            group: "root:x:0:root\nadm:x:4:web,other\nwww:x:34:\nssl:x:2:other,web\n".into(),
        }
    }

    fn found(text: &str) -> (u32, u32, Vec<u32>, String) {
        let account = accounts().find(text, "in the image").unwrap();
        (account.uid, account.gid, account.groups, account.home)
    }

    #[test]
    fn users_are_found_by_name_and_number_with_their_groups() {
        assert_eq!(found(""), (0, 0, vec![0], "/root".into()));
        assert_eq!(found("web"), (33, 34, vec![2, 4], "/srv".into()));
        assert_eq!(found("33"), (33, 34, vec![2, 4], "/srv".into()));
        assert_eq!(found("7"), (70, 70, vec![], "/seven".into()), "a name goes before a number");
        assert_eq!(found("1000"), (1000, 0, vec![], "/".into()));
        assert_eq!(found("web:adm"), (33, 4, vec![], "/srv".into()));
        assert_eq!(found("web:99"), (33, 99, vec![], "/srv".into()));
        assert_eq!(found("web:"), (33, 34, vec![2, 4], "/srv".into()));
    }

    #[test]
    fn names_that_stand_nowhere_are_nobody() {
        let error = |text: &str| accounts().find(text, "in the image").unwrap_err().to_string();
        assert_eq!(error("nobody"), "there is no user `nobody` in the image");
        assert_eq!(error("web:staff"), "there is no group `staff` in the image");
        assert_eq!(error("-1"), "there is no user `-1` in the image");
        assert_eq!(Accounts::default().find("0", "x").unwrap().home, "/");
    }
}
