//! Which processes of a node are checked, and how.

use std::sync::Arc;

use super::images::{Images, Ready};
use crate::health::effective::effective;
use crate::health::rounds::Subject;
use crate::intent::{Image, Intent, Task};
use crate::keeper::daemon::ENVIRONMENT;
use crate::keeper::protocol::{Running, State};
use crate::keeper::record::start_time;
use crate::node::SandboxName;
use crate::orchestrate::health::Check;
use crate::state_dir::StateDir;

/// How a task is checked; none when it is not, as those are not that leave.
pub fn check_of(intent: &Intent, task: &Task, images: &Images) -> Option<Check> {
    check_and_image(intent, task, images).map(|(check, _)| check)
}

/// The same, and the image of a container, once it is here.
fn check_and_image(
    intent: &Intent,
    task: &Task,
    images: &Images,
) -> Option<(Check, Option<Arc<Ready>>)> {
    let definition = intent.definition_of(task).filter(|_| task.leaving.is_none())?;
    let image = match &definition.image {
        Image::Oci(image) => images.ready(image),
        Image::Whoami | Image::Echo | Image::Host => None,
    };
    let check = effective(definition, image.as_ref().map(|image| &image.prepared.config))?;
    Some((check, image))
}

/// A task's process as something to be checked; none while there is nothing to check.
pub fn subject(
    intent: &Intent,
    task: &Task,
    running: &Running,
    images: &Images,
    state: &StateDir,
) -> Option<Subject> {
    let is_there = running.state == State::Ready && running.process.task == task.id;
    let (check, image) = check_and_image(intent, task, images).filter(|_| is_there)?;
    // The mesh's network is nobody's to be asked on.
    let endpoint = task.endpoints.iter().find(|endpoint| !intent.is_mesh(&endpoint.network))?;
    let usual = ENVIRONMENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let of_image = image.iter().flat_map(|image| &image.prepared.config.env);
    let of_image = of_image.filter_map(|variable| variable.split_once('='));
    let of_image = of_image.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Some(Subject {
        task: task.id.clone(),
        pid: running.pid,
        start_time: start_time(running.pid)?,
        started: running.started,
        address: endpoint.address,
        check,
        environment: usual
            .chain(of_image)
            .chain(running.process.environment.iter().cloned())
            .collect(),
        directory: state.task(&SandboxName::from(&task.name)),
    })
}
