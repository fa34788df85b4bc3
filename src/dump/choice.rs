//! What a SANDBOX on the command line means. One meaning wins over the next:
//!
//! 1. a path, which has a `/`;
//! 2. `host`, the machine's own namespace;
//! 3. a name below `/run/netns`: tasks, networks, and what `ip netns` lists;
//! 4. a name in Docker's directory;
//! 5. a process number;
//! 6. a container's name, or `SERVICE.SLOT` of Docker Swarm;
//! 7. the beginning of a container's id or of a name in Docker's directory, if it is one only.

use super::{Container, Namespace};
use crate::intent::name;

/// Linux numbers processes up to 4194304 (PID_MAX_LIMIT): what has more digits is none.
const LONGEST_PID: usize = 7;
/// Shorter beginnings than this are not looked for.
const SHORTEST_PREFIX: usize = 3;

/// The namespaces of a machine and what Docker says of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub namespaces: Vec<Namespace>,
    pub containers: Vec<Container>,
    /// How many processes may not be looked at.
    pub hidden: usize,
}

/// What was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice<'a> {
    /// A file that should be a namespace.
    Path(&'a str),
    /// The namespace that a process is in.
    Process(i32),
    Namespace(&'a Namespace),
}

/// Nothing was meant, or too much.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoChoice {
    #[error("there is no such sandbox")]
    Unknown {
        /// What is called nearly so.
        meant: Option<String>,
    },
    #[error("it may mean {}", .meanings.join(" or "))]
    Ambiguous { meanings: Vec<String> },
}

impl Machine {
    /// What an argument means.
    ///
    /// # Errors
    /// When nothing, or more than one thing, is called so.
    pub fn choose<'a>(&'a self, argument: &'a str) -> Result<Choice<'a>, NoChoice> {
        if argument.contains('/') {
            return Ok(Choice::Path(argument));
        }
        if argument.len() <= LONGEST_PID
            && self.exact(argument).is_none()
            && let Ok(pid) = argument.parse::<u32>()
            && let Ok(pid) = i32::try_from(pid)
        {
            return Ok(Choice::Process(pid));
        }
        let found = self.exact(argument).or_else(|| self.container(argument));
        if let Some(namespace) = found {
            return Ok(Choice::Namespace(namespace));
        }
        match self.beginning(argument).as_slice() {
            [one] => Ok(Choice::Namespace(one)),
            [] => Err(NoChoice::Unknown { meant: self.nearest(argument) }),
            many => Err(NoChoice::Ambiguous { meanings: self.meanings(many) }),
        }
    }

    /// The namespace that has this inode.
    pub fn of_inode(&self, inode: u64) -> Option<&Namespace> {
        self.namespaces.iter().find(|namespace| namespace.inode == inode)
    }

    /// What a namespace is called: the first of its names that means it and no other.
    pub fn name(&self, namespace: &Namespace) -> String {
        let means = |name: &String| match self.choose(name) {
            Ok(Choice::Namespace(other)) => other.inode == namespace.inode,
            Ok(Choice::Process(pid)) => namespace.processes.iter().any(|p| p.pid == pid),
            Ok(Choice::Path(_)) => true,
            Err(_) => false,
        };
        let inode = || format!("net:[{}]", namespace.inode);
        namespace.candidates().into_iter().find(means).unwrap_or_else(inode)
    }

    /// The container that a namespace is the sandbox of.
    pub fn container_in(&self, namespace: &Namespace) -> Option<&Container> {
        let by_name = namespace.in_docker();
        self.containers
            .iter()
            .find(|container| by_name.is_some() && container.sandbox.as_deref() == by_name)
    }

    fn exact(&self, name: &str) -> Option<&Namespace> {
        let by = |is: &dyn Fn(&Namespace) -> bool| self.namespaces.iter().find(|n| is(n));
        let named = |paths: &Namespace, directory: &str| {
            paths.paths.iter().any(|path| path.strip_prefix(directory) == Some(&format!("/{name}")))
        };
        by(&|namespace| name == "host" && namespace.host)
            .or_else(|| by(&|namespace| named(namespace, super::namespace::NAMED)))
            .or_else(|| {
                let docker = super::docker::DIRECTORIES;
                by(&|namespace| docker.iter().any(|directory| named(namespace, directory)))
            })
    }

    fn container(&self, name: &str) -> Option<&Namespace> {
        let mut containers = self.containers.iter();
        let called = |c: &&Container| c.name == name || c.short() == name;
        self.sandbox_of(containers.find(|c| called(c) && self.sandbox_of(c).is_some())?)
    }

    fn sandbox_of(&self, container: &Container) -> Option<&Namespace> {
        let sandbox = container.sandbox.as_deref()?;
        self.namespaces.iter().find(|namespace| namespace.in_docker() == Some(sandbox))
    }

    fn beginning(&self, prefix: &str) -> Vec<&Namespace> {
        if prefix.len() < SHORTEST_PREFIX {
            return Vec::new();
        }
        let begins = |namespace: &&Namespace| {
            let id = self.container_in(namespace).map(|container| container.id.as_str());
            let mut groups = namespace.processes.iter().filter_map(|p| p.container.as_deref());
            // The machine's own namespace is no container's, whoever shares it.
            !namespace.host
                && (namespace.in_docker().is_some_and(|name| name.starts_with(prefix))
                    || id.is_some_and(|id| id.starts_with(prefix))
                    || groups.any(|id| id.starts_with(prefix)))
        };
        self.namespaces.iter().filter(begins).collect()
    }

    fn meanings(&self, namespaces: &[&Namespace]) -> Vec<String> {
        namespaces.iter().map(|namespace| format!("`{}`", self.name(namespace))).collect()
    }

    fn nearest(&self, argument: &str) -> Option<String> {
        let mut known: Vec<&str> = self.namespaces.iter().filter_map(Namespace::named).collect();
        known.extend(self.namespaces.iter().filter_map(Namespace::in_docker));
        known.extend(self.containers.iter().map(Container::short));
        name::nearest(argument, known).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dump::docker;
    use crate::dump::namespace::Inhabitant;

    fn namespace(inode: u64, paths: &[&str], pids: &[i32]) -> Namespace {
        let process = |pid: &i32| Inhabitant {
            pid: *pid,
            command: "sh".into(),
            user: "root".into(),
            container: None,
        };
        Namespace {
            inode,
            host: inode == 1,
            paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            processes: pids.iter().map(process).collect(),
        }
    }

    fn machine() -> Machine {
        let config = docker::tests::config;
        Machine {
            namespaces: vec![
                namespace(1, &[], &[1, 50]),
                namespace(2, &["/run/netns/web.1"], &[60]),
                namespace(3, &["/run/netns/4711"], &[]),
                namespace(4, &["/var/run/docker/netns/b2bfa013ce3a"], &[4711]),
                namespace(5, &["/var/run/docker/netns/b2bf57e259e5"], &[]),
                namespace(6, &["/run/docker/netns/web.1"], &[]),
                namespace(7, &[], &[80, 81]),
                namespace(8, &["/run/netns/host"], &[]),
                namespace(9, &["/tmp/mine"], &[]),
            ],
            containers: vec![
                docker::parse(&config("78098b732bae99", "collabweb.1", "b2bfa013ce3a", "10.0.3.3"))
                    .unwrap(),
            ],
            hidden: 0,
        }
    }

    /// The inode of what is meant, or the words of the error.
    fn meant(argument: &str) -> String {
        let machine = machine();
        match machine.choose(argument) {
            Ok(Choice::Namespace(namespace)) => namespace.inode.to_string(),
            Ok(Choice::Process(pid)) => format!("pid {pid}"),
            Ok(Choice::Path(path)) => format!("path {path}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn one_meaning_wins_over_the_next() {
        for (argument, expected) in [
            ("host", "1"),
            ("1", "pid 1"),
            ("web.1", "2"),
            // A name, though it could be a process number.
            ("4711", "3"),
            ("81", "pid 81"),
            ("9999999", "pid 9999999"),
            ("./web.1", "path ./web.1"),
            ("/proc/80/ns/net", "path /proc/80/ns/net"),
            ("b2bfa013ce3a", "4"),
            ("b2bfa", "4"),
            ("collabweb.1", "4"),
            ("collabweb.1.jakczmkwdgv4bdhn0v4vqp0xk", "4"),
            ("78098b73", "4"),
            // Too long for a process number.
            ("78098", "pid 78098"),
            ("b2bf", "it may mean `b2bfa013ce3a` or `b2bf57e259e5`"),
            ("b2", "there is no such sandbox"),
            ("nothing", "there is no such sandbox"),
            ("", "there is no such sandbox"),
        ] {
            assert_eq!(meant(argument), expected, "{argument}");
        }
    }

    #[test]
    fn each_namespace_is_called_by_what_means_it() {
        let machine = machine();
        let names: Vec<String> = machine.namespaces.iter().map(|n| machine.name(n)).collect();
        let expected = [
            "host",
            "web.1",
            "4711",
            "b2bfa013ce3a",
            "b2bf57e259e5",
            "/run/docker/netns/web.1",
            "80",
            "/run/netns/host",
            "/tmp/mine",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_slip_of_the_pen_is_told() {
        let machine = machine();
        let near = |argument| match machine.choose(argument) {
            Err(NoChoice::Unknown { meant }) => meant,
            other => panic!("{other:?}"),
        };
        assert_eq!(near("wed.1").as_deref(), Some("web.1"));
        assert_eq!(near("collabwob.1").as_deref(), Some("collabweb.1"));
    }
}
