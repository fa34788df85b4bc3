//! The check of a task, from what its service says, what its image says, and what is usual.

use std::time::Duration;

use crate::image::config::{HealthCheck, ImageConfig};
use crate::intent::Definition;
use crate::intent::Span;
use crate::intent::health::{Choice, Test};
use crate::orchestrate::health::Check;

/// How many failed checks in a row are too many, when nothing is said; Docker's number.
pub const FALL: u32 = 3;
/// How long a task may take to be healthy for the first time, when nothing is said. Docker has none, but there
/// a task that is not healthy yet gets connections.
pub const START_PERIOD: Duration = Duration::from_secs(30);

/// What is usual for one kind of check.
struct Usual {
    interval: Duration,
    timeout: Duration,
    start_interval: Duration,
}

/// A command costs a process: Docker's times, but for the start.
const OF_COMMANDS: Usual = Usual {
    interval: Duration::from_secs(30),
    timeout: Duration::from_secs(30),
    start_interval: Duration::from_secs(1),
};
/// With three failures, a task that falls silent is out within 4 s.
const OF_NETWORKS: Usual = Usual {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(1),
    start_interval: Duration::from_millis(200),
};

/// How tasks of this definition are checked; none when they are not. `image` is what their image says of
/// itself, when they are made from one.
pub fn effective(definition: &Definition, image: Option<&ImageConfig>) -> Option<Check> {
    let asked = &definition.health;
    let inherited = image.and_then(|image| image.healthcheck.as_ref());
    let (test, theirs) = match &asked.test {
        Choice::None => return None,
        Choice::Given(test) => (test.clone(), None),
        Choice::Image => {
            let shell = image.map_or(&[][..], |image| &image.shell);
            (of_image(inherited?, shell)?, inherited)
        }
    };
    let usual = match &test {
        Test::Command(_) => OF_COMMANDS,
        Test::Http(_) | Test::Tcp(_) | Test::Udp(_) | Test::Dns(_) => OF_NETWORKS,
    };
    let of = |asked: Option<Span>, theirs: Option<u64>| {
        // As in Docker, 0 is as good as nothing.
        let asked = asked.map(Span::duration).filter(|span| !span.is_zero());
        asked.or_else(|| theirs.and_then(HealthCheck::time))
    };
    let interval = of(asked.interval, theirs.map(|held| held.interval)).unwrap_or(usual.interval);
    let timeout = of(asked.timeout, theirs.map(|held| held.timeout))
        .unwrap_or_else(|| usual.timeout.min(interval));
    let start_period = match asked.start_period {
        // Here it says that there is none.
        Some(span) => span.duration(),
        None => of(None, theirs.map(|held| held.start_period)).unwrap_or(START_PERIOD),
    };
    let start_interval = of(asked.start_interval, theirs.map(|held| held.start_interval))
        .unwrap_or_else(|| usual.start_interval.min(interval));
    let their_fall = theirs.map(|held| held.retries).filter(|fall| *fall > 0);
    Some(Check {
        test,
        interval,
        timeout,
        start_period,
        start_interval,
        rise: asked.rise.map_or(1, u32::from),
        fall: asked.fall.map(u32::from).or(their_fall).unwrap_or(FALL),
    })
}

/// The test of an image; none where it says that there is none, or nothing that is known.
fn of_image(check: &HealthCheck, shell: &[String]) -> Option<Test> {
    let (kind, words) = check.test.split_first()?;
    match (kind.as_str(), words) {
        ("CMD", [_, ..]) => Some(Test::Command(words.to_vec())),
        ("CMD-SHELL", [text]) => Some(Test::by_shell(text, shell)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Health;
    use crate::intent::Image;

    fn definition(health: Health) -> Definition {
        Definition { health, ..Definition::new(Image::Whoami) }
    }

    fn given(text: &str) -> Health {
        Health { test: Choice::Given(Test::Http(text.parse().unwrap())), ..Health::default() }
    }

    fn image(json: &str) -> ImageConfig {
        serde_json::from_str(json).unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_not_said_is_as_usual() {
        let check = effective(&definition(given("80/")), None).unwrap();
        assert_eq!((check.interval, check.timeout, check.fall, check.rise), (SECOND, SECOND, 3, 1));
        let often = Health { interval: Some("200ms".parse().unwrap()), ..given("80/") };
        let check = effective(&definition(often), None).unwrap();
        let often = Duration::from_millis(200);
        assert_eq!((check.interval, check.timeout, check.start_interval), (often, often, often));
        let command = Choice::Given(Test::by_shell("true", &[]));
        let command = Health { test: command, ..Health::default() };
        let check = effective(&definition(command), None).unwrap();
        assert_eq!((check.interval, check.timeout), (30 * SECOND, 30 * SECOND));
        assert_eq!(check.test.to_string(), "true");
    }

    #[test]
    fn an_image_has_a_check_of_its_own_and_numbers_are_put_over_its() {
        let image = image(
            r#"{"Healthcheck": {"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 5000000000,
                "Retries": 7, "StartPeriod": 2000000000}, "Shell": ["/bin/bash", "-c"]}"#,
        );
        let plain = definition(Health::default());
        let check = effective(&plain, Some(&image)).unwrap();
        let words = ["/bin/bash", "-c", "curl -f localhost"].map(str::to_owned).to_vec();
        assert_eq!(check.test, Test::Command(words));
        assert_eq!((check.interval, check.timeout), (5 * SECOND, 5 * SECOND));
        assert_eq!((check.fall, check.start_period), (7, 2 * SECOND));
        let over = Health {
            timeout: Some("1s".parse().unwrap()),
            fall: 2.try_into().ok(),
            start_period: Some("0".parse().unwrap()),
            ..Health::default()
        };
        let check = effective(&definition(over), Some(&image)).unwrap();
        assert_eq!((check.timeout, check.fall, check.start_period), (SECOND, 2, Duration::ZERO));
        let other = effective(&definition(given("80/")), Some(&image)).unwrap();
        assert_eq!(other.fall, 3, "the image's numbers are for the image's check");
        let never = Health { test: Choice::None, ..Health::default() };
        assert_eq!(effective(&definition(never), Some(&image)), None);
        assert_eq!(effective(&plain, None), None);
    }

    #[test]
    fn an_image_may_say_that_it_has_none() {
        for test in [r#"["NONE"]"#, "[]", r#"["CMD"]"#, r#"["UNKNOWN", "x"]"#, "null"] {
            let image = image(&format!(r#"{{"Healthcheck": {{"Test": {test}}}}}"#));
            assert_eq!(effective(&definition(Health::default()), Some(&image)), None, "{test}");
        }
    }
}
