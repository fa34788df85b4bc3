//! `swarmlb export …`

use std::collections::BTreeMap;

use super::Report;
use super::metrics;
use super::session::Session;
use crate::cli::export::{Asked, AskedPort, Command};
use crate::cli::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::intent::{Intent, PublishedPort, Service, ServiceName, Transport};
use crate::keeper::sockets::RESOLVER;
use crate::render::export::{Balancer, Entrance, Place, configuration, in_front, inside};

pub fn run(global: &Global, command: Command) -> Result<Report, Failure> {
    let (balancer, options) = match command {
        Command::Haproxy(options) => (Balancer::Haproxy, options),
        Command::Nginx(options) => (Balancer::Nginx, options),
        Command::Prometheus { listen } => return metrics::run(global, listen),
    };
    let place = match options.inside {
        true => Place::Inside { resolver: RESOLVER },
        false => Place::InFront,
    };
    let what = format!("export to {}", balancer.name());
    let intent = Session::new(global, what.as_str())?.intent()?;
    let entrances = Export { intent: &intent, place, what: &what }.entrances(&options.services)?;
    refuse_shared(&entrances, &what)?;
    if let (Some(first), false) =
        (entrances.first(), entrances.iter().any(|e| balancer.carries(e.transport)))
    {
        return Err(uncarried(balancer, first, &what));
    }
    match global.format {
        Format::Json => Report::json(&entrances),
        Format::Table => Ok(Report::good(configuration(balancer, place, &entrances))),
    }
}

fn uncarried(balancer: Balancer, entrance: &Entrance, what: &str) -> Failure {
    let Entrance { service, transport, port, .. } = entrance;
    let problem =
        format!("it carries no {transport}, by which `{service}` is reached at port {port}");
    let failure = Failure::new(Exit::Usage, what, problem);
    match Balancer::Nginx.carries(*transport) {
        true if balancer != Balancer::Nginx => failure.hint("`swarmlb export nginx` does"),
        _ => failure,
    }
}

/// A balancer listens on a port for one service.
fn refuse_shared(entrances: &[Entrance], what: &str) -> Result<(), Failure> {
    let mut held: BTreeMap<(Transport, u16), &ServiceName> = BTreeMap::new();
    for Entrance { service, transport, listen, port, .. } in entrances {
        if let Some(other) = held.insert((*transport, *listen), service) {
            let problem = format!(
                "it would listen on port {listen}/{transport} for `{other}` and for `{service}`"
            );
            return Err(Failure::new(Exit::Usage, what, problem).hint(format!(
                "say where else, as in `{service}:LISTEN:{port}`, or name fewer services"
            )));
        }
    }
    Ok(())
}

struct Export<'a> {
    intent: &'a Intent,
    place: Place,
    what: &'a str,
}

impl Export<'_> {
    fn entrances(&self, asked: &[Asked]) -> Result<Vec<Entrance>, Failure> {
        if asked.is_empty() {
            let services = self.intent.services.values();
            let all: Vec<Entrance> = services.flat_map(|service| self.published(service)).collect();
            return match all.is_empty() {
                true => Err(self.unpublished("no service publishes a port".into(), "SERVICE")),
                false => Ok(all),
            };
        }
        let mut entrances = Vec::new();
        for Asked { name, port } in asked {
            let service = self.intent.service(name);
            let service = service.map_err(|error| Failure::intent(self.what, &error))?;
            match port {
                Some(port) => entrances.push(self.at(service, *port)?),
                None if service.ports.is_empty() => {
                    let problem = format!("service `{name}` publishes no port");
                    return Err(self.unpublished(problem, name.as_str()));
                }
                None => entrances.extend(self.published(service)),
            }
        }
        Ok(entrances)
    }

    fn published(&self, service: &Service) -> Vec<Entrance> {
        service.ports.iter().map(|port| self.entrance(service, port)).collect()
    }

    fn entrance(&self, service: &Service, port: &PublishedPort) -> Entrance {
        match self.place {
            Place::InFront => in_front(self.intent, service, port),
            Place::Inside { .. } => inside(service, port.transport, port.published, port.target),
        }
    }

    /// The one that was asked for.
    fn at(&self, service: &Service, asked: AskedPort) -> Result<Entrance, Failure> {
        let AskedPort { listen, port, transport } = asked;
        let mut entrance = match self.place {
            Place::Inside { .. } => inside(service, transport, port, port),
            Place::InFront => {
                let is_asked = |p: &&PublishedPort| p.published == port && p.transport == transport;
                let published = service.ports.iter().find(is_asked);
                let published = published.ok_or_else(|| self.not_at(service, port, transport))?;
                in_front(self.intent, service, published)
            }
        };
        entrance.listen = listen.unwrap_or(entrance.listen);
        Ok(entrance)
    }

    fn not_at(&self, service: &Service, port: u16, transport: Transport) -> Failure {
        let name = &service.name;
        let problem = format!("service `{name}` does not publish port {port}/{transport}");
        let ports: Vec<String> = service.ports.iter().map(ToString::to_string).collect();
        match ports.is_empty() {
            true => self.unpublished(problem, name.as_str()),
            false => {
                Failure::new(Exit::Usage, self.what, problem).fact("published:", ports.join(", "))
            }
        }
    }

    fn unpublished(&self, problem: String, name: &str) -> Failure {
        Failure::new(Exit::Usage, self.what, problem).hint(match self.place {
            Place::InFront => format!(
                "make it with `--publish`, or export for a balancer inside: `--inside {name}:PORT`"
            ),
            Place::Inside { .. } => format!("say the port that its tasks listen on: `{name}:PORT`"),
        })
    }
}
