//! The resolvers of the node's sandboxes: one thread answers for all of them, on sockets that the
//! keeper holds, with what was read from these and not yet answered.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};

use crate::dns::forwarder::Forwarder;
use crate::dns::server::{MEMORY, Resolver, Seat, Shared};
use crate::keeper::client::Client;
use crate::keeper::journal::say;
use crate::keeper::protocol::Request;
use crate::kernel::{Refusal, netns};
use crate::lower::dns::Knowledge;
use crate::node::{SandboxName, Zone};

enum Command {
    Serve(SandboxName, Seat, watch::Receiver<Arc<Zone>>),
    Stop(SandboxName),
}

struct Served {
    /// Of the namespace that its sockets are in.
    inode: u64,
    zone: watch::Sender<Arc<Zone>>,
}

#[derive(Default)]
struct Table {
    wanted: BTreeMap<SandboxName, Knowledge>,
    served: BTreeMap<SandboxName, Served>,
}

/// All resolvers of a node.
pub struct Resolvers {
    keeper: Client,
    commands: mpsc::UnboundedSender<Command>,
    table: Mutex<Table>,
}

impl Resolvers {
    /// Starts the thread that answers.
    ///
    /// # Errors
    /// When the keeper does not answer or the thread cannot be made.
    pub fn start(keeper_socket: &Path) -> io::Result<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let keeper = Client::connect(keeper_socket)?;
        // By a connection of its own: a keeper of an older version ends it.
        let shared = Arc::new(shared(&Client::connect(keeper_socket)?)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("dns".into())
            .spawn(move || runtime.block_on(answer(received, shared)))?;
        Ok(Self { keeper, commands, table: Mutex::default() })
    }

    /// Says what these sandboxes' resolvers shall answer from now on.
    pub fn add_zones(&self, zones: &BTreeMap<SandboxName, Knowledge>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, knowledge) in zones {
            let held = table.wanted.get(name);
            let changed = held.is_none_or(|held| !Arc::ptr_eq(&held.zone, &knowledge.zone));
            if let Some(served) = table.served.get(name).filter(|_| changed) {
                served.zone.send_replace(Arc::clone(&knowledge.zone));
            }
            table.wanted.insert(name.clone(), knowledge.clone());
        }
    }

    /// Stops the resolvers of all other sandboxes.
    pub fn drop_others(&self, zones: &BTreeMap<SandboxName, Knowledge>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.wanted.retain(|name, _| zones.contains_key(name));
        let gone: Vec<SandboxName> =
            table.served.keys().filter(|name| !zones.contains_key(*name)).cloned().collect();
        for name in gone {
            table.served.remove(&name);
            self.stop(&name);
        }
    }

    /// Makes sure that a sandbox's resolver answers, if it shall have one.
    ///
    /// # Errors
    /// When the keeper cannot open its sockets.
    pub fn ensure(&self, name: &SandboxName) -> Result<(), Refusal> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(knowledge) = table.wanted.get(name).cloned() else { return Ok(()) };
        let inode = netns::inode(netns::of(name)?)?;
        if table.served.get(name).is_some_and(|served| served.inode == inode) {
            return Ok(());
        }
        let (_, fds) = self.keeper.ask(&Request::Sockets(name.clone()))?;
        let [udp, tcp] = <[OwnedFd; 2]>::try_from(fds).map_err(|_| nix::errno::Errno::EBADMSG)?;
        let (sender, receiver) = watch::channel(knowledge.zone);
        let first_turn = knowledge.first_turn;
        let seat = Seat { udp: udp.into(), tcp: tcp.into(), owner: inode, first_turn };
        let _ = self.commands.send(Command::Serve(name.clone(), seat, receiver));
        table.served.insert(name.clone(), Served { inode, zone: sender });
        Ok(())
    }

    /// Makes sure of all of them; what fails is tried again at the next turn.
    pub fn ensure_all(&self) {
        let names: Vec<SandboxName> = {
            let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            table.wanted.keys().cloned().collect()
        };
        for name in names {
            if let Err(refusal) = self.ensure(&name) {
                say(format!("no DNS in sandbox `{name}`: {refusal}"));
            }
        }
    }

    fn stop(&self, name: &SandboxName) {
        let _ = self.commands.send(Command::Stop(name.clone()));
        let _ = self.keeper.ask(&Request::CloseSockets(name.clone()));
    }
}

/// What all resolvers share. Without the keeper's memory a query that is being answered is lost with
/// the agent.
fn shared(keeper: &Client) -> io::Result<Shared> {
    let kept = keeper.ask(&Request::Memory(MEMORY)).map_err(|refusal| refusal.to_string());
    let memory = kept.and_then(|(_, fds)| fds.into_iter().next().ok_or("it gave none".to_owned()));
    match memory {
        Ok(memory) => Shared::within(Forwarder::system(), &memory),
        Err(reason) => {
            eprintln!("the keeper has no memory for queries: {reason}");
            Shared::new(Forwarder::system())
        }
    }
}

async fn answer(mut commands: mpsc::UnboundedReceiver<Command>, shared: Arc<Shared>) {
    let mut resolvers = BTreeMap::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(name, seat, zones) => {
                // The old one, in a namespace that is gone, stops before the new one begins.
                resolvers.remove(&name);
                match Resolver::serve(seat, zones, Arc::clone(&shared)) {
                    Ok(resolver) => {
                        resolvers.insert(name, resolver);
                    }
                    Err(error) => say(format!("no DNS in sandbox `{name}`: {error}")),
                }
            }
            Command::Stop(name) => {
                resolvers.remove(&name);
            }
        }
    }
}
