//! What happened to services.

use super::{Event, Kind, View, pairs};
use crate::intent::Service;
use crate::render::time::Moment;

pub fn between(before: &View, after: &View, time: Moment) -> Vec<Event> {
    let mut events = Vec::new();
    for (name, was, is) in pairs(&before.intent.services, &after.intent.services) {
        let event = |action| Event::new(time, Kind::Service, action, name);
        match (was, is) {
            (Some(was), Some(is)) if was.id == is.id => events.extend(of_one(was, is, time)),
            _ => {
                events.extend(was.map(|was| event("remove").with("id", &was.id)));
                events.extend(is.map(|is| {
                    let made = event("create").with("id", &is.id);
                    made.with("image", &is.definition.image).with("replicas", is.replicas)
                }));
            }
        }
    }
    events
}

fn of_one(was: &Service, is: &Service, time: Moment) -> Vec<Event> {
    let event = |action| Event::new(time, Kind::Service, action, &is.name);
    let mut events = Vec::new();
    if was.replicas != is.replicas {
        events.push(event("scale").with("from", was.replicas).with("replicas", is.replicas));
    }
    if asked(was) != asked(is) {
        events.push(event("update").with("image", &is.definition.image));
    }
    let state = |service: &Service| service.update.as_ref().map(|update| update.state);
    if let (true, Some(now)) = (state(was) != state(is), state(is)) {
        let message = is.update.as_ref().map(|update| update.message.clone());
        events.push(event("update_state").with("state", now).with_any("message", message));
    }
    for (slot, pending) in &is.pending {
        if !was.pending.contains_key(slot) {
            let reason = pending.reason.to_string();
            events.push(event("wait").with("slot", slot).with("reason", reason));
        }
    }
    events
}

/// What an operator asked for, without the number of tasks and what follows from it all.
fn asked(service: &Service) -> Service {
    let mut asked = service.clone();
    asked.replicas = 0;
    asked.pending.clear();
    asked.older.clear();
    asked.version = 0;
    asked.update = None;
    asked.former = None;
    asked.scheduler = Default::default();
    for vip in asked.vips.values_mut().chain(&mut asked.ingress) {
        vip.retired.clear();
        vip.fwmark = crate::intent::Fwmark(0);
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::super::tests::{said, view};
    use crate::intent::ServiceName;

    fn web() -> ServiceName {
        "collabweb".parse().unwrap()
    }

    #[test]
    fn services_are_scaled_updated_and_removed() {
        let scaled = said(|view| view.intent.scale_service(&web(), 4).unwrap());
        assert_eq!(scaled[0], "service scale collabweb (from=3, replicas=4)");
        assert!(scaled[1].starts_with("task create collabweb.4 (id="), "{scaled:?}");
        let labelled = said(|view| {
            let service = view.intent.services.get_mut(&web()).unwrap();
            service.labels.insert("tier".into(), "front".into());
        });
        assert_eq!(labelled, ["service update collabweb (image=builtin:whoami)"]);
        let gone = said(|view| {
            view.intent.services.remove(&web()).unwrap();
        });
        assert!(gone[0].starts_with("service remove collabweb (id="), "{gone:?}");
    }

    #[test]
    fn a_service_under_the_same_name_is_another_one() {
        let anew = said(|view| view.intent.services.get_mut(&web()).unwrap().id = "other".into());
        assert_eq!(anew.len(), 2);
        assert!(anew[0].starts_with("service remove") && anew[1].contains("id=other"), "{anew:?}");
        assert!(view().intent.services.contains_key(&web()));
    }
}
