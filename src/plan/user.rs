//! Users and groups by the container's own files. The C library would ask our system's, and load
//! the container's shared libraries into PID 1 to do so.

/// Who a session runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// User number.
    pub user: u32,
    /// Group number.
    pub group: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// A user or group that the container does not know.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("unable to find user {0:?}: no matching entries in /etc/passwd of the container")]
    NoUser(String),
    /// No such group.
    #[error("unable to find group {0:?}: no matching entries in /etc/group of the container")]
    NoGroup(String),
}

/// Resolves what the configuration says (`user`: a name, a number or `user:group`, empty for root;
/// `group`: a name or a number, empty for the user's own; `more`: groups beside) by the content of the two files, as
/// docker does: a number needs no entry; supplementary groups are those that list the user's name,
/// unless a group is asked for.
///
/// # Errors
/// A name that has no entry.
pub fn resolve(
    user: &str,
    group: &str,
    more: &[String],
    passwd: &[u8],
    groups: &[u8],
) -> Result<User, UserError> {
    let (user, group) = match (user.split_once(':'), group) {
        (Some((user, own)), "") => (user, own),
        (Some((user, _)), group) => (user, group),
        (None, group) => (user, group),
    };
    let wanted = if user.is_empty() { "0" } else { user };
    let number = id(wanted);
    let entry = lines(passwd).find_map(|line| {
        let entry = Entry::parse(line)?;
        (entry.name == wanted || Some(entry.user) == number).then_some(entry)
    });
    let mut resolved = match (&entry, number) {
        (Some(entry), _) => User {
            user: entry.user,
            group: entry.group,
            groups: Vec::new(),
            home: if entry.home.is_empty() {
                "/".into()
            } else {
                entry.home.into()
            },
        },
        (None, Some(0)) => User {
            user: 0,
            group: 0,
            groups: Vec::new(),
            home: "/root".into(),
        },
        (None, Some(user)) => User {
            user,
            group: 0,
            groups: Vec::new(),
            home: "/".into(),
        },
        (None, None) => return Err(UserError::NoUser(wanted.into())),
    };
    if !group.is_empty() {
        resolved.group = group_number(group, groups)?;
    } else if let Some(entry) = &entry {
        for known in lines(groups).filter_map(Group::parse) {
            let listed = known.members.split(',').any(|member| member == entry.name);
            if listed && !resolved.groups.contains(&known.number) {
                resolved.groups.push(known.number);
            }
        }
    }
    for name in more {
        let number = group_number(name, groups)?;
        if !resolved.groups.contains(&number) {
            resolved.groups.push(number);
        }
    }
    Ok(resolved)
}

fn group_number(name: &str, groups: &[u8]) -> Result<u32, UserError> {
    let mut known = lines(groups).filter_map(Group::parse);
    let named = known.find(|known| known.name == name);
    let number = named.map(|known| known.number).or_else(|| id(name));
    number.ok_or_else(|| UserError::NoGroup(name.into()))
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // The highest number is the kernel's "leave as it is".
    if digits {
        text.parse().ok().filter(|number| *number != u32::MAX)
    } else {
        None
    }
}

/// The lines that are UTF-8; one that is not can name nobody we can be asked for.
fn lines(file: &[u8]) -> impl Iterator<Item = &str> {
    file.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
}

/// `name:password:user:group:comment:home:shell`.
struct Entry<'a> {
    name: &'a str,
    user: u32,
    group: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let user = id(fields.nth(1)?)?;
        let group = id(fields.next()?)?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Self {
            name,
            user,
            group,
            home,
        })
    }
}

/// `name:password:number:member,member`.
struct Group<'a> {
    name: &'a str,
    number: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields
            .next()
            .filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        let number = id(fields.nth(1)?)?;
        Some(Self {
            name,
            number,
            members: fields.next().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n# a comment\n\nbroken line\n\
        www-data:x:33:33:www:/var/www:/usr/sbin/nologin\nnohome:x:7:8::\n1000:x:5:5::/odd:\n\xff:x:9:9::/:\n";
    const GROUP: &[u8] =
        b"root:x:0:\nwww-data:x:33:\nssl:x:101:nginx,www-data\nmail:x:8:www-data\n\
        mail2:x:8:www-data\nbroken\n";

    fn resolved(user: &str, group: &str) -> Result<(u32, u32, Vec<u32>, String), UserError> {
        resolve(user, group, &[], PASSWD, GROUP).map(|u| (u.user, u.group, u.groups, u.home))
    }

    #[test]
    fn nobody_named_is_root() {
        assert_eq!(resolved("", ""), Ok((0, 0, vec![], "/root".into())));
        let root = resolve("", "", &[], b"", b"").expect("root needs no file");
        assert_eq!((root.user, root.group, root.home.as_str()), (0, 0, "/root"));
    }

    #[test]
    fn a_name_brings_its_groups_and_home() {
        assert_eq!(
            resolved("www-data", ""),
            Ok((33, 33, vec![101, 8], "/var/www".into()))
        );
        assert_eq!(
            resolved("33", ""),
            Ok((33, 33, vec![101, 8], "/var/www".into()))
        );
    }

    #[test]
    fn a_group_that_is_asked_for_is_the_only_one() {
        let expected = Ok((33, 8, vec![], "/var/www".into()));
        assert_eq!(resolved("www-data:mail", ""), expected);
        assert_eq!(resolved("www-data", "mail"), expected);
        assert_eq!(resolved("www-data:ssl", "mail"), expected);
        assert_eq!(resolved("www-data:8", ""), expected);
        assert_eq!(resolved("", "mail"), Ok((0, 8, vec![], "/root".into())));
    }

    #[test]
    fn a_number_needs_no_entry() {
        assert_eq!(
            resolved("4242:4343", ""),
            Ok((4242, 4343, vec![], "/".into()))
        );
        assert_eq!(resolved("4242", ""), Ok((4242, 0, vec![], "/".into())));
        assert_eq!(resolved("nohome", ""), Ok((7, 8, vec![], "/".into())));
    }

    #[test]
    fn an_unknown_name_is_an_error_that_names_it() {
        let error = resolved("mallory", "").expect_err("unknown");
        assert!(error.to_string().contains("user \"mallory\""), "{error}");
        let error = resolved("root:wheel", "").expect_err("unknown");
        assert!(error.to_string().contains("group \"wheel\""), "{error}");
        assert!(resolved("4294967295", "").is_err());
        assert!(resolved("-1", "").is_err());
    }

    #[test]
    fn groups_may_be_added() {
        let more = ["7".to_owned(), "staff".to_owned()];
        let user = resolve("0", "", &more, b"", b"staff:x:50:\n").expect("known");
        assert_eq!(user.groups, [7, 50]);
        let error = resolve("0", "", &["nobodies".to_owned()], b"", b"");
        assert_eq!(error, Err(UserError::NoGroup("nobodies".into())));
    }
}
