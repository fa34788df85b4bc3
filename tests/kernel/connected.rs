//! Who is connected while tasks are replaced.

use std::time::{Duration, Instant};

use crate::in_place;
use crate::lossless::{SOON, update_state, world};
use crate::world::{Stream, within};

#[test]
fn who_is_connected_stays_so_until_the_drain_timeout() {
    in_place(|| {
        let swarmlb = world("--update-monitor 0s --drain-timeout 2s --update-parallelism 0");
        let mut streams: Vec<Stream> = (0..6).map(|_| Stream::open("box.1", "10.0.3.2")).collect();
        let begun = Instant::now();
        swarmlb.good("service update --detach --force web");
        while begun.elapsed() < Duration::from_millis(1700) {
            for stream in &mut streams {
                assert_eq!(stream.ask(), stream.task, "after {:?}", begun.elapsed());
            }
        }
        let ends = |stream: &mut Stream| stream.try_ask().is_none();
        for stream in &mut streams {
            within("it ends at the timeout", SOON, || ends(stream), |ended| *ended);
        }
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        let state = || update_state(&swarmlb);
        within("the update is over", SOON, state, |state| state == "completed");
        swarmlb.reset();
    });
}
