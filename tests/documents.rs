//! The documents are true: generated files are current, README's commands run, links lead somewhere.
//!
//! What runs commands for real does it in a private world: network, mounts and processes of its own,
//! with an empty /run, so that nothing of the machine is touched and everything ends with it.

#![allow(clippy::disallowed_methods, reason = "the bans are for the program, not for its tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::CommandFactory;
use swarmlb::cli::Cli;

const BINARY: &str = env!("CARGO_BIN_EXE_swarmlb");

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    let path = project().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs the binary without what the environment would change.
fn swarmlb(arguments: &[&str]) -> String {
    let output =
        without_settings(Command::new(BINARY).args(arguments)).output().expect("it starts");
    assert!(output.status.success(), "swarmlb {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it prints UTF-8")
}

fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SWARMLB_") {
            command.env_remove(name);
        }
    }
    // An empty file of settings, whatever the machine has.
    command.env("SWARMLB_CONFIG", "/dev/null")
}

// ── generated files ──

#[test]
fn completions_are_as_the_binary_prints_them() {
    for (shell, file) in [("bash", "swarmlb.bash"), ("zsh", "_swarmlb"), ("fish", "swarmlb.fish")] {
        let committed = read(&format!("completions/{file}"));
        let fresh = swarmlb(&["completions", shell]);
        assert!(committed == fresh, "completions/{file} is not what the binary was built with");
    }
}

#[test]
fn manual_pages_are_as_the_binary_writes_them() {
    let fresh = tempfile::tempdir().expect("a temporary directory");
    swarmlb(&["man", "--directory", fresh.path().to_str().expect("a UTF-8 path")]);
    let (committed, fresh) = (pages(&project().join("man")), pages(fresh.path()));
    let names = |pages: &BTreeMap<String, String>| pages.keys().cloned().collect::<BTreeSet<_>>();
    let differing: Vec<String> =
        names(&committed).symmetric_difference(&names(&fresh)).cloned().collect();
    assert!(differing.is_empty(), "man/ has other pages, run `make generate`: {differing:?}");
    for (name, text) in &fresh {
        assert!(
            committed.get(name) == Some(text),
            "man/{name} is out of date: run `make generate`"
        );
    }
}

/// The pages of section 1 in a directory, by name.
fn pages(directory: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(directory).expect("a directory of pages");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let of_commands = paths.filter(|path| path.extension().is_some_and(|section| section == "1"));
    of_commands
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a page"))
        })
        .collect()
}

#[test]
fn manual_pages_have_every_section_and_render_without_a_warning() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    swarmlb(&["man", "--directory", directory.path().to_str().expect("a UTF-8 path")]);
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let (man, mandoc) = (has("man"), has("mandoc"));
    let all = pages(directory.path());
    assert!(all.len() > 25, "{}", all.len());
    for (name, text) in &all {
        let headings: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        for wanted in ["NAME", "SYNOPSIS", "DESCRIPTION", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"]
        {
            assert!(headings.contains(&wanted), "{name} has no {wanted}: {headings:?}");
        }
        assert!(headings.contains(&"EXAMPLES") || headings.contains(&"COMMANDS"), "{name}");
        let path = directory.path().join(name);
        if man {
            let mut command = Command::new("man");
            let output = command.args(["--warnings", "-E", "UTF-8", "-l"]).arg(&path).output();
            let output = output.expect("man runs");
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{name}: {}",
                told(&output)
            );
        }
        if mandoc {
            let output =
                Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).output();
            let said = String::from_utf8(output.expect("mandoc runs").stdout).expect("UTF-8");
            let wrong: Vec<&str> =
                said.lines().filter(|line| !line.contains("missing date")).collect();
            assert!(wrong.is_empty(), "{name}: {wrong:#?}");
        }
    }
}

// ── packages ──

#[test]
fn the_unit_runs_a_command_that_there_is() {
    let unit = read("packaging/systemd/swarmlb.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/"));
    let words: Vec<&str> = line.expect("it starts something").split(' ').collect();
    assert!(Cli::command().try_get_matches_from(words).is_ok(), "{line:?}");
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return eprintln!("skipped: systemd-analyze is missing");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("swarmlb.service");
    // What is not installed cannot be verified: the binary stands in for itself.
    let unit = unit.replace("/usr/bin/swarmlb", BINARY);
    let unit: String =
        unit.split_inclusive('\n').filter(|l| !l.starts_with("Documentation")).collect();
    std::fs::write(&path, unit).expect("a unit");
    let output =
        Command::new("systemd-analyze").arg("verify").arg(&path).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{}", told(&output));
}

#[test]
fn the_settings_that_are_installed_are_good_and_change_nothing() {
    let text = read("packaging/config.toml");
    let whole: String =
        text.lines().map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    let lines = whole.lines().filter(|line| line.contains(" = \""));
    let settings: String = lines.map(|line| format!("{line}\n")).collect();
    assert!(settings.lines().count() >= 5, "{settings}");
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("as-installed", &text), ("uncommented", &settings)] {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("UTF-8");
        let told = swarmlb(&["--config", path, "system", "info", "--format", "table"]);
        assert!(told.contains("SETTING"), "{told}");
    }
}

#[test]
fn a_debian_package_holds_what_it_should_and_is_the_same_each_time() {
    if Command::new("dpkg-deb").arg("--version").output().is_err() {
        return eprintln!("skipped: dpkg-deb is missing");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let build = |name: &str| {
        let mut command = Command::new(project().join("packaging/debian/build.sh"));
        command.arg(BINARY).arg(directory.path().join(name));
        command.env("SOURCE_DATE_EPOCH", "1700000000").env("DPKG_DEB_COMPRESSOR_TYPE", "none");
        let output = command.output().expect("the script runs");
        assert!(output.status.success(), "{}", told(&output));
        PathBuf::from(String::from_utf8(output.stdout).expect("UTF-8").trim_end())
    };
    let package = build("one");
    let bytes = |path: &Path| std::fs::read(path).expect("a package");
    assert!(bytes(&package) == bytes(&build("two")), "the same files gave another package");
    let root = directory.path().join("root");
    let output = Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root).output();
    assert!(output.expect("it runs").status.success());
    for (ours, installed) in [
        ("packaging/systemd/swarmlb.service", "lib/systemd/system/swarmlb.service"),
        ("packaging/config.toml", "etc/swarmlb/config.toml"),
        ("completions/swarmlb.bash", "usr/share/bash-completion/completions/swarmlb"),
        ("completions/_swarmlb", "usr/share/zsh/vendor-completions/_swarmlb"),
        ("completions/swarmlb.fish", "usr/share/fish/vendor_completions.d/swarmlb.fish"),
    ] {
        let found = std::fs::read_to_string(root.join(installed));
        assert!(found.is_ok_and(|found| found == read(ours)), "{installed}");
    }
    for file in [
        "usr/share/man/man1/swarmlb.1.gz",
        "usr/share/man/man7/swarmlb-concepts.7.gz",
        "usr/share/doc/swarmlb/copyright",
        "usr/share/doc/swarmlb/changelog.Debian.gz",
    ] {
        assert!(root.join(file).is_file(), "{file}");
    }
    let version = Command::new(root.join("usr/bin/swarmlb")).arg("--version").output();
    let said = String::from_utf8(version.expect("it runs").stdout).expect("UTF-8");
    assert_eq!(said, format!("swarmlb {}\n", env!("CARGO_PKG_VERSION")));
    let field = |name: &str| {
        let output = Command::new("dpkg-deb").arg("-f").arg(&package).arg(name).output();
        String::from_utf8(output.expect("it runs").stdout).expect("UTF-8").trim_end().to_owned()
    };
    assert_eq!(field("Version"), format!("{}-1", env!("CARGO_PKG_VERSION")));
    assert!(field("Depends").contains("nftables") && field("Depends").contains("libc6"));
}

// ── words ──

/// The text of the fenced blocks of one language, in order.
fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(bool, String)> = None;
    for line in markdown.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info == language, String::new())),
            (Some(_), Some(_)) => {
                blocks.extend(open.take().filter(|open| open.0).map(|open| open.1))
            }
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fenced block has no end");
    blocks
}

/// What stands between single backticks outside fenced blocks.
fn spans(markdown: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in markdown.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The command lines of swarmlb in README's blocks, without prompts and what the shell takes.
fn command_lines(readme: &str) -> Vec<Vec<String>> {
    let typed = blocks(readme, "sh");
    let recorded = blocks(readme, "console");
    let lines = typed.iter().flat_map(|block| block.lines());
    let prompts =
        recorded.iter().flat_map(|block| block.lines()).filter_map(|line| line.strip_prefix("# "));
    lines
        .chain(prompts)
        .flat_map(|line| {
            line.split("; do ").flat_map(|part| part.split("until ")).collect::<Vec<_>>()
        })
        .filter(|line| line.starts_with("swarmlb "))
        .map(|line| {
            let shell =
                |word: &&str| !["|", ">", "&&", "||", ";"].contains(word) && !word.starts_with('>');
            line.split_whitespace()
                .take_while(shell)
                .map(|word| word.trim_end_matches(';').to_owned())
                .collect()
        })
        .collect()
}

#[test]
fn every_command_line_in_the_readme_can_be_typed() {
    let lines = command_lines(&read("README.md"));
    assert!(lines.len() > 20, "README has hardly any command: {lines:?}");
    for line in lines {
        if let Err(error) = Cli::command().try_get_matches_from(&line) {
            panic!("README: `{}`: {error}", line.join(" "));
        }
    }
}

#[test]
fn every_command_named_in_the_documents_is_in_the_help() {
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for span in spans(&read(document)) {
            let Some(rest) = span.strip_prefix("swarmlb ") else { continue };
            let mut command = Cli::command();
            command.build();
            for word in rest.split_whitespace() {
                if !command.has_subcommands() || !word.starts_with(|c: char| c.is_ascii_lowercase())
                {
                    break;
                }
                let known = command.find_subcommand(word).filter(|known| !known.is_hide_set());
                command =
                    known.unwrap_or_else(|| panic!("{document}: `{span}`: no `{word}`")).clone();
            }
        }
    }
}

/// The first numbers of table rows, `| 0 | done |`.
fn codes_of_table(markdown: &str) -> BTreeSet<u8> {
    let cells = markdown.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
    cells.filter_map(|cell| cell.parse().ok()).collect()
}

/// The lines below `Exit codes:` of the help, `  0  done, …`.
fn codes_of_help() -> BTreeSet<u8> {
    let help = swarmlb(&["--help"]);
    let (_, codes) = help.split_once("Exit codes:").expect("the help has exit codes");
    codes.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn exit_codes_are_the_same_in_readme_manual_and_help() {
    let help = codes_of_help();
    assert!(help.contains(&0) && help.len() > 5, "{help:?}");
    assert_eq!(codes_of_table(&read("README.md")), help, "README.md");
    let page = read("man/swarmlb-concepts.7");
    let (_, status) = page.split_once(".SH EXIT STATUS").expect("the page has exit codes");
    let status = status.split(".SH").next().unwrap_or_default();
    let codes = status.lines().filter_map(|line| line.strip_prefix(".B ")?.parse().ok());
    assert_eq!(codes.collect::<BTreeSet<u8>>(), help, "man/swarmlb-concepts.7");
}

#[test]
fn links_to_files_lead_to_files() {
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md"] {
        for (_, rest) in
            read(document).match_indices("](").map(|(at, found)| (at, at + found.len()))
        {
            let text = read(document);
            let target = text[rest..].split(')').next().unwrap_or_default();
            let file = target.split('#').next().unwrap_or_default();
            if !target.starts_with("https://") && !file.is_empty() {
                assert!(project().join(file).exists(), "{document} links to {target}");
            }
        }
    }
}

#[test]
fn the_tree_in_the_architecture_names_every_module() {
    let architecture = read("ARCHITECTURE.md");
    let tree = blocks(&architecture, "text").into_iter().find(|block| block.starts_with("src/"));
    let tree = tree.expect("ARCHITECTURE.md has a tree");
    let words: BTreeSet<&str> = tree.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    for entry in std::fs::read_dir(project().join("src")).expect("src") {
        let name = PathBuf::from(entry.expect("an entry").file_name());
        let stem = name.file_stem().expect("a name").to_string_lossy().into_owned();
        assert!(words.contains(stem.as_str()), "ARCHITECTURE.md's tree does not name src/{stem}");
    }
}

#[test]
fn pages_that_the_manual_refers_to_exist() {
    let page = read("man/swarmlb-concepts.7");
    let named: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix(".BR swarmlb")?.split(" (").next())
        .filter(|rest| !rest.contains(' '))
        .map(|rest| format!("man/swarmlb{}.1", rest.replace("\\-", "-")))
        .collect();
    assert!(named.len() > 3, "{named:?}");
    for file in named {
        assert!(project().join(&file).exists(), "man/swarmlb-concepts.7 refers to {file}");
    }
}

#[test]
fn the_manual_renders_without_a_warning() {
    let page = project().join("man/swarmlb-concepts.7");
    let output = Command::new("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&page).output();
    let Ok(output) = output else { return eprintln!("skipped: man is missing") };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("SEE ALSO"), "{output:?}");
}

// ── real runs ──

/// What a private world does before and after the script that it is for. Ends with 99 and `left: …`
/// when something of swarmlb's is there after the script.
const WORLD: &str = r#"
mount -t tmpfs tmpfs /run && ip link set lo up || exit 98
# Some kernels put links of their own into every namespace.
links() { ip -o link show | cut -d: -f2; }
before=$(links)
bash -c "$1" || exit
deadline=$((SECONDS + 10))
while :; do
    left=$(
        for process in /proc/[0-9]*; do
            if [[ $(readlink "$process/exe") -ef $2 ]]; then echo "left: process ${process#/proc/}"; fi
        done
        for name in /run/netns/*; do
            if [[ -e $name ]]; then echo "left: namespace $name"; fi
        done
        if [[ -e $SWARMLB_STATE_DIR ]]; then echo "left: $SWARMLB_STATE_DIR"; fi
        if [[ $(links) != "$before" ]]; then echo "left: links" $(links); fi
    )
    [[ -n $left ]] || exit 0
    ((SECONDS < deadline)) || break
    sleep 0.1
done
echo "$left"
exit 99
"#;

/// Runs a bash script in a private world, with the binary on PATH; none when this cannot be had here.
fn in_private_world(script: &str) -> Option<Output> {
    if let Some(missing) = missing() {
        let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|facility| facility == "root"), "{missing}");
        eprintln!("skipped: {missing}");
        return None;
    }
    let directory = Path::new(BINARY).parent().expect("the binary is in a directory");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = unshare();
    without_settings(&mut command);
    command.args(["bash", "-c", WORLD, "world", script, BINARY]).current_dir(project());
    command.env("PATH", format!("{}:{path}:/usr/sbin:/sbin", directory.display()));
    command.env("SWARMLB_STATE_DIR", "/run/swarmlb-state").env("TMPDIR", "/run");
    Some(command.output().expect("unshare starts"))
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// What a private world needs and this machine lacks.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".into());
    }
    let made = unshare().arg("true").output().is_ok_and(|output| output.status.success());
    if !made {
        return Some("root without the right to make namespaces".into());
    }
    let absent = |program: &&str| {
        let script = format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}");
        !Command::new("bash")
            .args(["-c", &script])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let absent: Vec<&str> = ["nft", "ip", "curl"].into_iter().filter(absent).collect();
    (!absent.is_empty()).then(|| format!("root is there, but not {}", absent.join(", ")))
}

fn told(output: &Output) -> String {
    format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn the_commands_in_the_readme_run_in_order_and_leave_nothing() {
    let readme = read("README.md");
    let commands = blocks(&readme, "sh").concat();
    assert!(commands.lines().count() > 10, "README has hardly any command to run");
    // Each line must end well by itself, also one before a pipe's last.
    let script =
        format!("set -Eeuo pipefail\ntrap 'echo \"exit $?: $BASH_COMMAND\" >&2' ERR\n{commands}");
    let Some(output) = in_private_world(&script) else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("Task: web."), "nobody answered: {}", told(&output));
    assert!(said.contains("web scaled to 5"), "{}", told(&output));
}

#[test]
fn the_main_example_runs_to_its_end_and_leaves_nothing() {
    let Some(output) = in_private_world("examples/01-main-job.sh") else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let typed: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let expected = [
        "swarmlb network create --driver overlay --subnet 10.0.3.0/24 collabnet",
        "swarmlb service create --replicas 3 --name collabweb --network collabnet",
        "swarmlb inspect vip",
        "swarmlb service create --name collab-box --network collabnet",
        "swarmlb diag dns collabweb --from collab-box.1",
        "swarmlb sandbox dump collabweb.1 --table mangle --table nat --table ipvs",
        "swarmlb diag compare-dns-ipvs collabweb",
        "swarmlb service rm collab-box collabweb",
        "swarmlb network rm collabnet",
    ];
    let mut rest = typed.iter();
    for command in expected {
        assert!(rest.any(|line| *line == command), "`{command}` is not in its place: {typed:#?}");
    }
    for answer in ["Task: collabweb.1", "Task: collabweb.2", "Task: collabweb.3"] {
        assert!(said.lines().any(|line| line == answer), "no `{answer}`: {said}");
    }
    assert!(said.contains("3/3"), "{said}");
    assert!(said.contains("agree with the replies, task by task"), "{said}");
    assert!(!said.contains("WRONG"), "{said}");
}

#[test]
fn the_example_of_daily_life_runs_to_its_end_and_leaves_nothing() {
    let Some(output) = in_private_world("examples/02-daily-life.sh") else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    // What is typed, and what must be said before the next.
    let expected = [
        ("swarmlb service scale --detach echo=1", "echo scaled to 1"),
        ("swarmlb service ps echo", "Draining"),
        ("swarmlb diag dns tasks.echo --from box.1", "as it should be"),
        ("echo \"are you there, $greeting?\"", "are you there, echo.2?"),
        ("swarmlb service scale echo=1", "echo scaled to 1"),
        ("swarmlb service ps echo --format '{{.Name}} {{.DesiredState}}'", "\necho.1 running\n"),
        ("swarmlb task exec job.1 -- printenv SWARMLB_SERVICE", "\njob\n"),
        ("swarmlb service logs --timestamps", "reads its settings"),
        ("swarmlb diag dns web --from box.1", "30 s"),
        ("swarmlb diag dns web --from box.1", "30 s"),
        ("swarmlb diag compare-dns-ipvs --clients 3", "each client\n  met one task only"),
        ("head -n 2 \"$report\"", "way,mechanism,client"),
        ("swarmlb network ls --format '{{.Name}}'", "\nshop\n"),
        ("swarmlb sandbox dump --raw", "tcp dport 22 drop"),
        ("swarmlb network rm shop", "\nshop\n"),
    ];
    assert_steps(&said, &expected);
    for order in ["10.0.5.9 10.0.5.10 ", "10.0.5.10 10.0.5.9 "] {
        assert!(said.contains(order), "no `{order}`: {said}");
    }
    assert!(!said.contains("WRONG"), "{said}");
}

#[test]
fn the_example_of_an_update_runs_to_its_end_and_loses_nothing() {
    let Some(output) = in_private_world("examples/06-update.sh") else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = [
        ("swarmlb service update --env-add LEVEL=debug web", "\nweb\n"),
        ("swarmlb task exec web.1 -- printenv LEVEL", "\ndebug\n"),
        ("swarmlb service update --image host", "exit code 1"),
        ("swarmlb service inspect --pretty web", "rollback_completed"),
        ("swarmlb service update --update-order start-first", "\nweb\n"),
        ("swarmlb service ps web", "Running"),
        ("swarmlb service rollback web", "\nweb\n"),
        ("swarmlb task exec", "\ndebug\n"),
        ("swarmlb task update --weight 3", "web."),
        ("swarmlb inspect vip web", "  3        up"),
        ("sort \"$counts\"", "answered"),
    ];
    assert_steps(&said, &expected);
    assert!(!said.contains(" lost\n"), "{said}");
}

/// Sees that commands were typed in this order, and that each was answered so.
fn assert_steps(said: &str, expected: &[(&str, &str)]) {
    let mut steps = said.split("\n$ ");
    for (command, answer) in expected {
        let step = steps.find(|step| step.starts_with(command));
        let step = step.unwrap_or_else(|| panic!("`{command}` is not in its place: {said}"));
        let (line, _) = step.split_once('\n').unwrap_or((step, ""));
        assert!(step[line.len()..].contains(answer), "no `{answer}`: {step}");
    }
}

#[test]
fn the_example_of_six_nodes_runs_to_its_end_and_leaves_nothing() {
    let Some(output) = in_private_world("examples/03-six-nodes.sh") else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = [
        ("swarmlb lab up --nodes 6", "A cluster of 6 nodes is up"),
        ("swarmlb service ps web", "web.6 node-6 running"),
        ("for i in 1 2 3 4 5 6; do swarmlb --node node-6 sandbox exec box.1", "Node: node-"),
        ("swarmlb --node node-6 sandbox dump shop --table fdb", "# web.1, node node-1"),
        ("swarmlb network inspect shop", "peer       node-6"),
        ("swarmlb --node node-1 inspect vip web", "It works from the one sandbox."),
        ("swarmlb --node node-6 inspect vip web", "It works from all 2 sandboxes."),
        ("swarmlb lab kill-node node-3", ""),
        ("swarmlb node ls", "node-3     Down"),
        ("swarmlb --node node-6 inspect vip web", "It works from all 2 sandboxes."),
        ("swarmlb node drain node-2", "node-2"),
        ("swarmlb node ls --format", "node-2 Ready Drain 0"),
        ("swarmlb lab partition node-6", ""),
        ("swarmlb node ls --format", "node-6 Down"),
        ("swarmlb --node node-6 service ls", "exit 3"),
        ("swarmlb lab heal", ""),
        ("swarmlb service ps web", "running"),
        ("swarmlb lab down", ""),
    ];
    assert_steps(&said, &expected);
    let mut answers: Vec<&str> =
        said.lines().filter_map(|line| line.strip_prefix("Node: ")).collect();
    answers.sort_unstable();
    let all = ["node-1", "node-2", "node-3", "node-4", "node-5", "node-6"];
    assert_eq!(answers, all, "each node answers once: {said}");
}

#[test]
fn the_example_of_etcd_runs_to_its_end_and_leaves_nothing() {
    if Command::new("etcd").arg("--version").output().is_err() {
        let required = std::env::var("SWARMLB_TEST_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|facility| facility == "etcd"), "etcd is missing");
        return eprintln!("skipped: etcd is missing");
    }
    let Some(output) = in_private_world("examples/04-etcd.sh") else { return };
    assert!(output.status.success(), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    let expected = [
        ("echo \"$SWARMLB_STORE\"", "etcd://127.0.0.1:"),
        ("swarmlb service ls", "2/2"),
        ("for i in 1 2 3 4", "Task: web.2"),
        ("swarmlb service scale web=3", "exit 3"),
        ("swarmlb service scale web=3", "web scaled to 3"),
        ("for i in 1 2 3", "Task: web.3"),
        ("swarmlb agent status", "store    etcd://127.0.0.1:"),
        ("swarmlb service rm web box", "web\nbox\n"),
        ("swarmlb network rm shop", "\nshop\n"),
    ];
    assert_steps(&said, &expected);
}

/// Whether networks can be encrypted on this machine.
fn has_esp() -> bool {
    let dry = "swarmlb network create --dry-run -o encrypted blue";
    in_private_world(dry).is_some_and(|output| output.status.success())
}

#[test]
fn the_example_of_encryption_says_why_it_cannot_run_or_runs_to_its_end_and_leaves_nothing() {
    let Some(output) = in_private_world("examples/05-encrypted.sh") else { return };
    let has = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let missing = ["tcpdump", "haproxy"].into_iter().find(|program| !has(program));
    if missing.is_none() && has_esp() {
        assert!(output.status.success(), "{}", told(&output));
        return assert_steps(
            &String::from_utf8_lossy(&output.stdout),
            &[("grep -c the-secret", "\n0\n"), ("swarmlb lab down", "")],
        );
    }
    assert_eq!(output.status.code(), Some(3), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    let why = missing.map_or("encrypt".to_owned(), |program| format!("{program} is missing"));
    assert!(said.contains(&why), "no `{why}`: {}", told(&output));
    assert!(output.stdout.is_empty(), "it began all the same: {}", told(&output));
}

/// Set-up on a machine that lacks HAProxy and starts what is installed, with programs that note what they
/// are told. A fake apt-get does as a package's script does.
const SETTING_UP: &str = r#"
mkdir /run/over /run/work /run/fake
mount -t overlay -o lowerdir=/usr/sbin,upperdir=/run/over,workdir=/run/work overlay /usr/sbin || exit 97
rm -f /usr/sbin/haproxy /usr/sbin/policy-rc.d
cat >/run/fake/apt-get <<'END'
#!/bin/sh
echo "apt-get $*" >>/run/told
case $* in
*install*) /usr/sbin/policy-rc.d haproxy start; echo "policy $?" >>/run/told ;;
esac
END
printf '#!/bin/sh\necho "systemctl $*" >>/run/told\n' >/run/fake/systemctl
chmod +x /run/fake/*
PATH=/run/fake:$PATH scripts/setup.sh front || exit 96
[[ ! -e /usr/sbin/policy-rc.d ]] && echo 'policy gone'
cat /run/told
"#;

#[test]
fn setting_up_starts_and_enables_no_service_of_what_it_installs() {
    let Some(output) = in_private_world(SETTING_UP) else { return };
    let said = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(97) => return eprintln!("skipped: no overlay file system here"),
        code => assert_eq!(code, Some(0), "{}", told(&output)),
    }
    let lines: Vec<&str> = said.lines().collect();
    let at = |what: &str| lines.iter().position(|line| line.contains(what));
    assert!(at("policy gone").is_some(), "the rule stays: {said}");
    assert!(at("install --no-install-recommends haproxy") < at("policy 101"), "{said}");
    assert!(at("policy 101") < at("systemctl -q disable"), "{said}");
    assert!(at("disable haproxy").is_some(), "{said}");
    assert!(at("etcd").is_none(), "what was there before stays as it is: {said}");
}

#[test]
fn a_world_tells_of_what_is_left_in_it() {
    let Some(output) = in_private_world("swarmlb --quiet network create left") else { return };
    assert_eq!(output.status.code(), Some(99), "{}", told(&output));
    let said = String::from_utf8_lossy(&output.stdout);
    for left in ["left: namespace /run/netns/left", "left: process", "left: /run/swarmlb-state"] {
        assert!(said.contains(left), "no `{left}`: {said}");
    }
}
