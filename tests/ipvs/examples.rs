//! Examples that need what only the virtual machine's kernel has.

use swarmlb::kernel::program;

use crate::with_ipvs;

#[test]
fn the_example_of_encryption_runs_to_its_end_and_shows_no_secret() {
    with_ipvs(|| {
        let output = program::command("/examples/05-encrypted.sh").output().expect("it starts");
        let (said, errors) = (
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        );
        assert!(output.status.success(), "{}\n{said}\n{errors}", output.status);
        let mut steps = said.split("\n$ ");
        for (typed, answer) in [
            ("swarmlb network create --driver overlay -o encrypted", ""),
            ("for i in 1 2 3 4 5 6; do swarmlb sandbox exec box.1", "Node: node-6"),
            ("tcpdump -Z root -nr", "ESP(spi="),
            ("grep -c the-secret", "\n0\n"),
            ("swarmlb export haproxy collabweb", "server node-6 "),
            ("for i in 1 2 3 4 5 6; do curl -sS http://127.0.0.1:9000/", "Node: node-"),
            ("swarmlb export haproxy --inside", "tasks.collabweb:80"),
            ("for i in 1 2 3 4 5 6; do curl", "Node: node-6"),
            ("swarmlb lab kill-node node-6", ""),
            ("for i in 1 2 3 4 5 6; do curl", "Node: node-"),
            ("swarmlb lab down", ""),
        ] {
            let step = steps.find(|step| step.starts_with(typed));
            let step = step.unwrap_or_else(|| panic!("`{typed}` is not in its place: {said}"));
            assert!(step.contains(answer), "no `{answer}`: {step}");
        }
    });
}
