//! Where the store is said to be: what contradicts itself, and what does not answer.

use crate::fixture::{Lab, said};

/// What a command that looks at the store says, on a machine where nothing ever was.
#[track_caller]
fn refused(options: &[&str], code: i32) -> String {
    let lab = Lab::new();
    said(lab.fresh(options).args(["service", "ls"])).failed(code)
}

#[test]
#[cfg(feature = "etcd")]
fn an_etcd_that_does_not_answer_is_named_with_the_reason_of_each_member() {
    let told = refused(&["--store", "etcd://127.0.0.1:1,127.0.0.1:2/lb"], 3);
    let expected = "error: cannot list services: the store at etcd://127.0.0.1:1,127.0.0.1:2/lb is not reachable\n";
    assert!(told.starts_with(expected), "{told}");
    for member in ["127.0.0.1:1", "127.0.0.1:2"] {
        assert!(told.contains(&format!("{member}: Connection refused")), "{told}");
    }
    assert!(told.contains("hint: see that etcd runs there"), "{told}");
}

#[test]
fn what_is_no_store_is_refused_as_it_is_typed() {
    for address in ["mysql", "etcd://", "etcd://a:b", "etcd://a/x?y", "http://127.0.0.1:2379"] {
        let told = refused(&["--store", address], 2);
        assert!(told.contains("--store"), "{told}");
    }
}

#[test]
fn half_a_certificate_and_tls_without_etcd_are_refused() {
    let etcd = ["--store", "etcd://127.0.0.1:1"];
    let with = |options: &[&str]| refused(&[&etcd[..], options].concat(), 2);
    assert!(with(&["--store-cacert", "/a", "--store-cert", "/c"]).contains("needs its key"));
    assert!(with(&["--store-cacert", "/a", "--store-key", "/k"]).contains("needs its certificate"));
    let told = with(&["--store-cert", "/c", "--store-key", "/k"]);
    assert!(told.contains("needs the authority"), "{told}");
    assert!(refused(&["--store-cacert", "/a"], 2).contains("the store is embedded"));
}

#[test]
#[cfg(feature = "etcd")]
fn a_file_that_is_no_certificate_is_named() {
    let lab = Lab::new();
    let path = lab.path("ca.pem");
    std::fs::write(&path, "nothing").expect("a file");
    let path = path.display().to_string();
    let mut command = lab.fresh(&["--store", "etcd://127.0.0.1:1", "--store-cacert", &path]);
    let told = said(command.args(["service", "ls"])).failed(3);
    assert!(told.contains(&format!("{path} is of no use for TLS")), "{told}");
}
