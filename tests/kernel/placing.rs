//! Tasks that find no place at once.

use std::time::Duration;

use crate::world::{Swarmlb, apart, replies, within};

#[test]
fn a_task_without_an_address_waits_until_others_free_one() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.9.0/29 small");
        swarmlb.good("service create --replicas 2 --name first --network small");
        let (said, told) =
            swarmlb.ending("service create --replicas 2 --name second --network small", 1);
        assert_eq!(said, "");
        assert_eq!(
            told,
            "error: cannot bring up service `second`: 1 of 2 tasks waits for a place\n  \
             1 task: network small has no free address: all 5 are taken\n\
             hint: each is started as soon as there is a place for it: see `swarmlb service ps second`; \
             take it back with `swarmlb service scale` or `rm`\n"
        );
        let listed = || swarmlb.good("service ls --format {{.Name}}:{{.Replicas}}");
        assert_eq!(listed(), "first:2/2\nsecond:1/2\n");
        swarmlb.good("service scale first=1");
        within("second has its task", Duration::from_secs(10), listed, |listed| {
            listed == "first:1/1\nsecond:2/2\n"
        });
        let both = [("second.1".to_owned(), 2), ("second.2".to_owned(), 2)];
        assert_eq!(replies("first.1", "10.0.9.5", 4), both);
        swarmlb.reset();
    });
}

#[test]
fn a_global_service_has_a_task_on_the_only_node() {
    apart(|| {
        let swarmlb = Swarmlb::new();
        swarmlb.good("network create --subnet 10.0.3.0/24 blue");
        swarmlb.good("service create --mode global --name probe --network blue");
        let (_, told) = swarmlb.ending(
            "service create --mode global --name none --network blue --constraint node.name!=node-1",
            0,
        );
        assert_eq!(
            told,
            "no node may run `none` yet: no suitable node: node-1 does not satisfy node.name!=node-1\n"
        );
        let listed = swarmlb.good("service ls --format {{.Name}}:{{.Mode}}:{{.Replicas}}");
        assert_eq!(listed, "none:global:0/0\nprobe:global:1/1\n");
        let (_, told) = swarmlb.ending(
            "service create --detach --name lost --network blue --constraint node.name==x",
            0,
        );
        assert_eq!(
            told,
            "lost.1 waits for a place: no suitable node: node-1 does not satisfy node.name==x\n"
        );
        swarmlb.reset();
    });
}
