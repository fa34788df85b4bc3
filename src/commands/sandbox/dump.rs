//! `swarmlb sandbox dump`

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::find::{Target, find, open, unknown};
use super::{known_intent, own_table, sandbox_name, tell};
use serde_json::Value;

use crate::cli::sandbox::Dump as Options;
use crate::cli::{Format, Global};
use crate::commands::Report;
use crate::commands::session::Session;
use crate::dump::choice::Machine;
use crate::dump::{Belonging, Container, Contents, Dump, Names, Table};
use crate::failure::{Exit, Failure};
use crate::intent::{ClusterId, Intent};
use crate::kernel::{Scope, contents, namespaces};
use crate::node::SandboxName;
use crate::render::dump::{self as render, Section};

pub fn run(global: &Global, options: Options) -> Result<Report, Failure> {
    let what = what(&options);
    if options.raw && global.format == Format::Json {
        let problem = "--raw is what the original tools print, and that is no JSON";
        return Err(Failure::new(Exit::Usage, what, problem).hint("leave out one of them"));
    }
    let session = Session::new(global, what.as_str())?;
    let tables: Vec<Table> = match options.tables.is_empty() {
        true => Table::ALL.to_vec(),
        false => {
            let mut seen = BTreeSet::new();
            let asked = options.tables.iter().map(|table| Table::from(*table));
            asked.filter(|table| seen.insert(*table)).collect()
        }
    };
    let looked = match (&options.from, &global.kernel) {
        (Some(file), _) => from_file(file, &options.names, &session, &what)?,
        (None, Some(_)) => recorded(&session, &options, &what)?,
        (None, None) => live(&session, &options, &tables, &what)?,
    };
    let whole = options.tables.is_empty();
    if global.format == Format::Json {
        return match looked.dump.contents.is_empty() && !whole {
            true => Report::json(&bare(&looked.dump, &tables)),
            false => Report::json(&looked.json(&tables, whole)),
        };
    }
    let text = if options.raw { looked.raw(&tables) } else { looked.text(&tables) };
    Ok(Report::good(text))
}

fn what(options: &Options) -> String {
    match options.names.as_slice() {
        [] => "dump sandboxes".into(),
        [name] => format!("dump sandbox `{}`", name.escape_debug()),
        names => {
            let quoted: Vec<String> =
                names.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
            format!("dump sandboxes {}", quoted.join(" "))
        }
    }
}

/// What was found of the sandboxes that were asked for.
#[derive(Default)]
struct Looked {
    dump: Dump,
    /// What addresses and marks belong to, in each sandbox.
    names: BTreeMap<SandboxName, Names>,
    /// What other tools print of it, where it is there to be asked.
    originals: BTreeMap<SandboxName, Vec<(Table, Section)>>,
    /// In the order in which they were asked for.
    order: Vec<SandboxName>,
}

impl Looked {
    fn json(self, tables: &[Table], whole: bool) -> Dump {
        if whole {
            return self.dump;
        }
        let Dump { mut contents, .. } = self.dump;
        let wanted: BTreeSet<Table> = tables.iter().copied().collect();
        for held in contents.values_mut() {
            *held = held.only(&wanted);
        }
        Dump { sandboxes: None, contents }
    }

    fn text(&self, tables: &[Table]) -> String {
        let nothing = Names::default();
        self.each(|name| {
            let names = self.names.get(name).unwrap_or(&nothing);
            let whole = self.dump.sandboxes.as_ref().and_then(|sandboxes| sandboxes.get(name));
            match (self.dump.contents.get(name), whole) {
                (Some(contents), _) => render::contents(contents, tables, names),
                (None, Some(sandbox)) => render::recorded(sandbox, tables, names),
                (None, None) => String::new(),
            }
        })
    }

    fn raw(&self, tables: &[Table]) -> String {
        let wanted: BTreeSet<Table> = tables.iter().copied().collect();
        self.each(|name| {
            let mut sections = Vec::new();
            for (_, section) in self.originals.get(name).into_iter().flatten() {
                sections.push(section.clone());
            }
            if let Some(contents) = self.dump.contents.get(name) {
                sections.extend(render::sections(contents, &wanted));
            }
            render::raw(&sections)
        })
    }

    /// Each sandbox, under a heading when there are several.
    fn each(&self, text: impl Fn(&SandboxName) -> String) -> String {
        if let [name] = self.order.as_slice() {
            return text(name);
        }
        let one = |name: &SandboxName| {
            let belongs = self.dump.contents.get(name).map(|contents| {
                let kind = &contents.kind;
                if contents.belongs_to == "-" {
                    format!(" ({kind})")
                } else {
                    format!(" ({kind}: {})", contents.belongs_to)
                }
            });
            format!("## {name}{}\n{}", belongs.unwrap_or_default(), text(name))
        };
        self.order.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}

/// These tables of a recorded node, which has nothing but itself.
fn bare(dump: &Dump, tables: &[Table]) -> Value {
    let fields = |table: &Table| -> &[&str] {
        match table {
            Table::Links => &["links", "addresses"],
            Table::Routes => &["routes"],
            Table::Mangle | Table::Nat | Table::Filter => &["table"],
            Table::Ipvs => &["virtual_servers"],
            Table::Sysctl => &["sysctls"],
            Table::Neighbours | Table::Fdb | Table::Connections | Table::Xfrm => &[],
        }
    };
    let wanted: Vec<&str> = tables.iter().flat_map(fields).copied().collect();
    let mut document = serde_json::json!({ "sandboxes": dump.sandboxes });
    let sandboxes = document["sandboxes"].as_object_mut().into_iter().flatten();
    for sandbox in sandboxes.filter_map(|(_, sandbox)| sandbox.as_object_mut()) {
        sandbox.retain(|field, _| wanted.contains(&field.as_str()));
    }
    document
}

/// A recorded node, which has its sandboxes and no more.
fn recorded(session: &Session, options: &Options, what: &str) -> Result<Looked, Failure> {
    let intent = session.intent()?;
    let node = session.observe(&Scope::All)?;
    let dump = Dump { sandboxes: Some(node.sandboxes), contents: BTreeMap::new() };
    let every: Vec<String> = dump.names().into_iter().map(ToString::to_string).collect();
    let names = if options.names.is_empty() { &every } else { &options.names };
    chosen(dump, names, what, |_| Names::of(&intent))
}

/// A dump that somebody made before, here or elsewhere.
fn from_file(
    file: &Path,
    names: &[String],
    session: &Session,
    what: &str,
) -> Result<Looked, Failure> {
    let shown = file.display();
    let text = std::fs::read(file).map_err(|error| Failure::io(format!("read {shown}"), &error))?;
    let dump: Dump = serde_json::from_slice(&text).map_err(|error| {
        Failure::new(Exit::Usage, format!("read {shown}"), error)
            .hint("a dump is what `swarmlb sandbox dump --format json` prints")
    })?;
    if dump.names().is_empty() {
        let problem = "no sandbox is in it";
        return Err(Failure::new(Exit::Usage, format!("read {shown}"), problem)
            .hint("a dump is what `swarmlb sandbox dump --format json` prints"));
    }
    // What belongs to what was known where it was made; an intent that was recorded with it tells
    // more, where one is given.
    let intent = match session.is_told_an_intent() {
        true => Some(session.intent()?),
        false => None,
    };
    let every: Vec<String> = dump.names().into_iter().map(ToString::to_string).collect();
    let names = if names.is_empty() { &every } else { names };
    chosen(dump, names, what, |contents| {
        let told = intent.as_ref().map(Names::of);
        let mut names = told.unwrap_or_else(|| contents.names.clone());
        names.learn(contents, &[]);
        names
    })
}

/// The sandboxes of these names out of a dump.
fn chosen(
    dump: Dump,
    names: &[String],
    what: &str,
    name_of: impl Fn(&Contents) -> Names,
) -> Result<Looked, Failure> {
    let known: BTreeSet<&str> = dump.names().into_iter().map(SandboxName::as_str).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        return Err(unknown(&known, name, None, what));
    }
    let wanted: Vec<SandboxName> = names.iter().map(|name| sandbox_name(name)).collect();
    let Dump { sandboxes, mut contents } = dump;
    let sandboxes = sandboxes.map(|mut sandboxes| {
        sandboxes.retain(|name, _| wanted.contains(name));
        sandboxes
    });
    contents.retain(|name, _| wanted.contains(name));
    let nothing = Contents::default();
    let named = |name: &SandboxName| name_of(contents.get(name).unwrap_or(&nothing));
    let names = wanted.iter().map(|name| (name.clone(), named(name))).collect();
    let dump = Dump { sandboxes, contents };
    Ok(Looked { dump, names, originals: BTreeMap::new(), order: wanted })
}

/// What is there now.
fn live(
    session: &Session,
    options: &Options,
    tables: &[Table],
    what: &str,
) -> Result<Looked, Failure> {
    let intent = known_intent(session).unwrap_or_else(|| Intent::new(ClusterId(String::new())));
    let machine = namespaces::machine();
    let several = options.names.is_empty();
    let targets = match several {
        true => all(&machine, options, what)?,
        false => {
            let found: Result<Vec<Target>, Failure> =
                options.names.iter().map(|name| find(&machine, name, what)).collect();
            found?
        }
    };
    let processes = session.processes();
    let mut looked = Looked::default();
    let mut whole = BTreeMap::new();
    for target in targets {
        let name = sandbox_name(&target.name);
        if looked.order.contains(&name) {
            continue;
        }
        let mut held =
            match contents::read(&target.file, &target.namespace, &to_read(tables), &machine) {
                Ok(held) => held,
                Err(refusal) if several => {
                    tell(&format!("{name} could not be looked into: {refusal}."));
                    continue;
                }
                Err(refusal) => return Err(Failure::kernel(what, &refusal)),
            };
        let marked = sandbox_name(target.namespace.named().unwrap_or(&target.name));
        let owner = held.owner(&marked);
        let belonging =
            Belonging::of(&target.namespace, owner.as_ref(), &intent, &machine.containers)
                .joined(&held, &intent);
        held.kind = belonging.kind().to_owned();
        held.belongs_to = belonging.to_string();
        let known = names(&belonging, &held, &intent, &machine.containers);
        held.names = known.used_in(&serde_json::to_string(&held).unwrap_or_default());
        looked.names.insert(name.clone(), known);
        if options.raw {
            looked.originals.insert(name.clone(), originals(&target, tables));
        }
        held.namespace = held.namespace.without_arguments();
        let mut sandbox = held.sandbox(&marked, own_table(&target.file, &held));
        sandbox.process = processes.get(&marked).filter(|_| belonging.is_ours()).cloned();
        whole.insert(name.clone(), sandbox);
        looked.dump.contents.insert(name.clone(), held);
        looked.order.push(name);
    }
    looked.dump.sandboxes = Some(whole);
    Ok(looked)
}

/// All of Docker's, or all there are.
fn all(machine: &Machine, options: &Options, what: &str) -> Result<Vec<Target>, Failure> {
    let wanted = machine.namespaces.iter().filter(|namespace| {
        options.which.all || (namespace.in_docker().is_some() && !namespace.host)
    });
    let targets: Result<Vec<Target>, Failure> =
        wanted.map(|namespace| open(machine, namespace, what)).collect();
    let mut targets = targets?;
    if targets.is_empty() {
        let problem = "there are no sandboxes in /var/run/docker/netns";
        return Err(Failure::new(Exit::Usage, what, problem)
            .hint("see what there is: `swarmlb sandbox ls --all`"));
    }
    targets.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(targets)
}

/// What has to be read for what shall be shown: links tell whose it is, rules and virtual servers
/// explain each other.
fn to_read(tables: &[Table]) -> BTreeSet<Table> {
    let mut wanted: BTreeSet<Table> = tables.iter().copied().collect();
    wanted.insert(Table::Links);
    let tied = |table: &Table| {
        table.chains().is_some() || matches!(table, Table::Ipvs | Table::Connections)
    };
    if tables.iter().any(tied) {
        wanted.extend([Table::Mangle, Table::Ipvs]);
    }
    wanted
}

/// Numbers and addresses mean something in the network that they are of, and nowhere else: mark
/// 0x100 of ours is not Docker's.
fn names(
    belonging: &Belonging,
    held: &Contents,
    intent: &Intent,
    containers: &[Container],
) -> Names {
    let mut names = match belonging.concerns_us() {
        true => Names::of(intent),
        false => Names::of(&Intent::new(ClusterId(String::new()))),
    };
    if !belonging.is_ours() {
        names.add_containers(containers);
    }
    names.learn(held, containers);
    names
}

fn originals(target: &Target, tables: &[Table]) -> Vec<(Table, Section)> {
    let mut sections = Vec::new();
    for table in tables {
        let printed = match table {
            Table::Connections => contents::connection_files(&target.file),
            table => contents::originals(&target.file, *table),
        };
        sections.extend(printed.into_iter().map(|(tool, text)| {
            (*table, Section { tool, text: text.map_err(|refusal| refusal.to_string()) })
        }));
    }
    sections
}
