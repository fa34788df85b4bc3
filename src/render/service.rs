//! A service in words.

use super::english::{count, duration};
use super::table::printable;
use crate::intent::health::Choice;
use crate::intent::{
    Mode, NoHealthy, RestartPolicy, Service, Source, UnhealthyAction, UpdateConfig,
};
use crate::trace::expected::picking;

/// All of it, a fact a line. `data_plane` is what balances its VIPs; `now` is in seconds since 1970.
pub fn pretty(service: &Service, data_plane: &str, now: u64) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        text.push_str(&format!("{:<15}{}\n", format!("{label}:"), printable(&value)));
    };
    line("ID", service.id.clone());
    line("Name", service.name.to_string());
    for (key, value) in &service.labels {
        line("Label", format!("{key}={value}"));
    }
    line("Created", format!("{} ago", duration(now.saturating_sub(service.created))));
    line("Mode", mode(service));
    for constraint in &service.placement.constraints {
        line("Placement", constraint.to_string());
    }
    if let Some(most) = service.placement.max_per_node {
        line("Placement", format!("at most {most} on a node"));
    }
    for (slot, pending) in &service.pending {
        line("Pending", format!("{}.{slot}: {}", service.name, pending.reason));
    }
    line("Image", service.definition.image.to_string());
    if !service.definition.command.is_empty() {
        line("Command", service.definition.command.join(" "));
    }
    for (name, value) in &service.definition.environment {
        line("Environment", format!("{name}={value}"));
    }
    if let Some(hostname) = &service.definition.hostname {
        line("Hostname", hostname.clone());
    }
    health(service).into_iter().for_each(|(label, value)| line(label, value));
    line("Log", service.definition.log.to_string());
    if let Some(update) = &service.update {
        let since = duration(now.saturating_sub(update.started / 1000));
        line("Update", format!("{}, started {since} ago: {}", update.state, update.message));
    }
    line("Updates", config(&service.update_config));
    line("Rollbacks", config(&service.rollback_config));
    line("Endpoint mode", service.endpoint_mode.to_string());
    line("Drain timeout", service.drain_timeout.to_string());
    line("DNS TTL", format!("{} s", service.dns_ttl));
    if service.slow_start.millis() > 0 {
        line("Slow start", service.slow_start.to_string());
    }
    for port in &service.ports {
        let kept = match port.source {
            Source::Mesh => "",
            Source::Client => ", clients keep their addresses",
        };
        line("Port", format!("{port}, {}{kept}", port.mode));
    }
    if let Some(vip) = &service.ingress {
        line("Mesh", format!("fwmark {}, balanced by {data_plane}", vip.fwmark));
    }
    for network in &service.networks {
        let vip = service.vips.get(network).map(|vip| {
            let scheduler = picking(service);
            format!(
                ", VIP {}, fwmark {}, scheduler {scheduler}, balanced by {data_plane}",
                vip.address, vip.fwmark
            )
        });
        let names = service.aliases.get(network).into_iter().flatten();
        let aliases: String = names.map(|alias| format!(", alias {alias}")).collect();
        line("Network", format!("{network}{}{aliases}", vip.unwrap_or_default()));
    }
    text
}

/// What was said about its tasks' checks and their ends.
fn health(service: &Service) -> Vec<(&'static str, String)> {
    let asked = &service.definition.health;
    let mut lines = Vec::new();
    match &asked.test {
        Choice::Image => {}
        Choice::None => lines.push(("Health check", "none".to_owned())),
        Choice::Given(test) => lines.push(("Health check", test.to_string())),
    }
    let times = [
        ("every", asked.interval),
        ("timeout", asked.timeout),
        ("start period", asked.start_period),
        ("meanwhile every", asked.start_interval),
    ];
    let times = times.into_iter().filter_map(|(word, span)| Some(format!("{word} {}", span?)));
    let counts = [("rise", asked.rise), ("retries", asked.fall)];
    let counts = counts.into_iter().filter_map(|(word, count)| Some(format!("{word} {}", count?)));
    let numbers: Vec<String> = times.chain(counts).collect();
    if !numbers.is_empty() {
        lines.push(("Health", numbers.join(", ")));
    }
    let upkeep = &service.upkeep;
    if upkeep.unhealthy_action == UnhealthyAction::Quiesce {
        lines.push(("Unhealthy", "kept out until it is healthy again".to_owned()));
    }
    if upkeep.no_healthy == NoHealthy::All {
        lines.push(("None healthy", "all that run are in rotation".to_owned()));
    }
    if upkeep.restart != RestartPolicy::default() {
        lines.push(("Restart", restart(&upkeep.restart)));
    }
    lines
}

fn restart(policy: &RestartPolicy) -> String {
    let mut words = vec![policy.condition.to_string()];
    words.extend(policy.delay.map(|delay| format!("after {delay}")));
    words.extend(
        policy.max_attempts.map(|most| format!("at most {}", count(most.get() as usize, "time"))),
    );
    words.extend(policy.window.map(|window| format!("within {window}")));
    words.join(", ")
}

/// How tasks are replaced.
fn config(config: &UpdateConfig) -> String {
    let many = match config.parallelism {
        0 => "all at once".to_owned(),
        many => format!("{many} at a time"),
    };
    let delay = match config.delay.millis() {
        0 => String::new(),
        _ => format!(", {} after each", config.delay),
    };
    let ratio = match f64::from(config.max_failure_ratio) {
        0.0 => String::new(),
        _ => format!(" of more than {} of them", config.max_failure_ratio),
    };
    format!(
        "{many}, {}{delay}; on failure{ratio} within {}: {}",
        config.order, config.monitor, config.failure_action
    )
}

fn mode(service: &Service) -> String {
    match service.mode {
        Mode::Replicated => format!("replicated, {} wanted", service.replicas),
        Mode::Global => format!("global, for {}", count(service.replicas as usize, "node")),
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::intent::health::Test;
    use crate::intent::tests::story;
    use crate::intent::{Placement, ServiceSpec};

    #[test]
    fn a_service_is_told_a_fact_a_line() {
        let intent = story();
        let service = &intent.services[&"collabweb".parse().unwrap()];
        insta::assert_snapshot!(pretty(service, "ipvs", 90), @r"
        ID:            id-collabweb
        Name:          collabweb
        Created:       90 seconds ago
        Mode:          replicated, 3 wanted
        Image:         builtin:whoami
        Log:           max-size=10m, max-file=3
        Updates:       1 at a time, stop-first; on failure within 5s: pause
        Rollbacks:     1 at a time, stop-first; on failure within 5s: pause
        Endpoint mode: vip
        Drain timeout: 10s
        DNS TTL:       2 s
        Network:       collabnet, VIP 10.0.3.2, fwmark 0x100, scheduler rr, balanced by ipvs
        ");
    }

    #[test]
    fn how_its_tasks_are_checked_and_kept_up_is_told() {
        let mut intent = story();
        let service = intent.services.get_mut(&"collabweb".parse().unwrap()).unwrap();
        let health = &mut service.definition.health;
        health.test = Choice::Given(Test::Http("80/ok".parse().unwrap()));
        health.interval = Some("500ms".parse().unwrap());
        health.fall = NonZeroU32::new(5);
        service.upkeep.unhealthy_action = UnhealthyAction::Quiesce;
        service.upkeep.restart.max_attempts = NonZeroU32::new(3);
        service.upkeep.restart.window = Some("2m".parse().unwrap());
        let text = pretty(service, "ipvs", 90);
        let told: Vec<&str> = text.lines().skip(5).take(4).collect();
        assert_eq!(
            told,
            [
                "Health check:  http 80/ok",
                "Health:        every 500ms, retries 5",
                "Unhealthy:     kept out until it is healthy again",
                "Restart:       any, at most 3 times, within 2m",
            ]
        );
    }

    #[test]
    fn where_its_tasks_may_be_is_told_and_what_waits() {
        let mut intent = story();
        let spec = crate::intent::tests::spec("cache", "collabnet", 1);
        let constraints = vec!["node.labels.disk==ssd".parse().unwrap()];
        let placement = Placement { constraints, max_per_node: NonZeroU32::new(2) };
        intent.create_service(ServiceSpec { placement, ..spec }, "id".into(), 0).unwrap();
        let text = pretty(&intent.services[&"cache".parse().unwrap()], "ipvs", 90);
        let told: Vec<&str> = text.lines().skip(3).take(4).collect();
        assert_eq!(
            told,
            [
                "Mode:          replicated, 1 wanted",
                "Placement:     node.label.disk==ssd",
                "Placement:     at most 2 on a node",
                "Pending:       cache.1: no suitable node: node-1 does not satisfy node.label.disk==ssd",
            ]
        );
        let global =
            Service { mode: Mode::Global, ..intent.services.into_values().next().unwrap() };
        assert!(pretty(&global, "ipvs", 90).contains("Mode:          global, for 1 node\n"));
    }
}
